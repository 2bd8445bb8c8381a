"""Score honest and hostile predictions by the million in one process, and see to it that it does not grow.

    .venv/bin/python benches/soak.py [--scorings 1000000] [--threads N]

Batches mix the demo's predictions with those of the hostile corpus that are quick to judge under small limits. Every
text is made different by a comment, so that none is scored once for all. At every tenth it shows scorings per second,
resident memory and file descriptors; memory at the end may be 10% and 16 MB above that after the first tenth,
descriptors may not be more.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from qsql import Scorer, demo
from qsql.data import read_examples, read_predictions

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import corpus

BATCH = 2000
LIMITS = {"timeout": 10.0, "max_steps": 2000, "max_memory": 8 << 20}
QUICK = 0.01  # seconds


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def jobs(databases: Path) -> list[tuple[str, str, str]]:
    """Gold, prediction and database of everything to be scored, over and over."""
    examples = read_examples(demo.GOLD)
    found = []
    for predictions in demo.PREDICTIONS.values():
        texts = read_predictions(predictions, examples).predictions
        found += [(one.query, text, one.db_id) for one, text in zip(examples, texts, strict=True) if text]
    honest = len(found)
    scorer = Scorer(databases, threads=1, **LIMITS)
    # Texts of megabytes are rejected for their length; in a batch they would hide any growth.
    for item in (item for item in corpus.load() if len(item.text) < 100_000):
        for rows in (True, False):
            job = (corpus.gold(item.database, rows=rows), item.text, item.database)
            started = time.perf_counter()
            scorer.score(*([part] for part in job))
            if time.perf_counter() - started < QUICK:
                found.append(job)
    print(f"{honest} honest and {len(found) - honest} hostile predictions, in batches of {BATCH}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorings", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        databases = corpus.build_archive(demo.build(Path(scratch)))
        mixed = jobs(databases)
        scorer = Scorer(databases, threads=arguments.threads, **LIMITS)
        generator = random.Random(1)  # noqa: S311
        marks: list[tuple[float, int]] = []
        done, started, right = 0, time.perf_counter(), 0
        print("     scorings   per second  resident MB  descriptors")
        while done < arguments.scorings:
            batch = generator.choices(mixed, k=min(BATCH, arguments.scorings - done))
            texts = [f"{text}\n-- {done + index}" for index, (_, text, _) in enumerate(batch)]
            verdicts = scorer.score([job[0] for job in batch], texts, [job[2] for job in batch])
            right += sum(verdict.execution is True for verdict in verdicts)
            done += len(batch)
            if done * 10 // arguments.scorings > len(marks):
                marks.append((resident(), len(os.listdir("/proc/self/fd"))))  # noqa: PTH208
                rate = done / (time.perf_counter() - started)
                print(f"{done:13,} {rate:12,.0f} {marks[-1][0]:12.1f} {marks[-1][1]:12}", flush=True)
        print(f"{right / done:.1%} right")
        (first, files), (last, files_last) = marks[0], marks[-1]
        if last > 1.1 * first + 16 or files_last > files:
            sys.exit("the process grew")
        print("flat")


if __name__ == "__main__":
    main()
