"""What data preparation takes on Spider: checks of queries a second, seconds and memory of the whole command.

And how many lightly rephrased dev questions are found, with their own query and with another.

    QSQL_SPIDER_DIR=... python benches/data.py [--databases DIR]

With a folder of databases the stage `execution` runs too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from qsql import check
from qsql.prepare.leakage import EvaluationSets, Signatures
from qsql.prepare.rows import Row
from qsql.schema_text import read_schemas

BEGINNINGS = ("", "Please ", "Can you tell me: ", "I want to know ")
CHANGES = (
    *(("what is", "show"), ("what are", "list"), ("show", "display"), ("find", "give me"), ("list", "give")),
    *(("how many", "count how many"), ("ordered", "sorted"), ("in ascending order", "ascending"), ("the ", "")),
    *((" of ", " for "), ("that", "which"), ("who", "that"), ("have", "has"), ("each", "every"), ("all", "")),
    *(("more than", "over"), ("youngest", "most young"), ("?", "")),
)
"""What is put in the place of what, where a question is rephrased."""


def rephrased(question: str, generator: random.Random) -> str:
    """Change one expression of a question, and perhaps its beginning."""
    for old, new in generator.sample(CHANGES, len(CHANGES)):
        changed = re.sub(re.escape(old), new, question, count=1, flags=re.IGNORECASE)
        if changed != question:
            break
    return generator.choice(BEGINNINGS) + changed


def leaks_found(folder: Path) -> None:
    """Print how many rephrased dev questions are found, on a schema that tells nothing."""
    dev = json.loads((folder / "dev.json").read_text(encoding="utf-8"))
    sets = EvaluationSets(0.75, Signatures())
    sets.add(folder / "dev.json")
    generator = random.Random(0)  # noqa: S311 - draws examples, guards nothing
    questions = [rephrased(item["question"], generator) for item in dev]
    for label, queries in (("their query", [item["query"] for item in dev]), ("another", ["SELECT 1"] * len(dev))):
        rows = [Row("bench", at, str(at), *pair, "") for at, pair in enumerate(zip(questions, queries, strict=True))]
        found = sum(sets.find(row) is not None for row in rows)
        print(f"rephrased dev questions with {label}: {found / len(dev):.1%} of {len(dev):,} found")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--databases", type=Path, help="folder of <db_id>/<db_id>.sqlite")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    folder = Path(os.environ["QSQL_SPIDER_DIR"])
    examples = json.loads((folder / "train_spider.json").read_text(encoding="utf-8"))
    schemas = read_schemas(folder / "tables.json")
    texts, queries = [schemas[item["db_id"]] for item in examples], [item["query"] for item in examples]
    # One thread, for checks a second and core.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rates = []
    for _ in range(arguments.runs):
        started = time.perf_counter()
        check(texts, queries)
        rates.append(len(queries) / (time.perf_counter() - started))
    print(f"checks: {sorted(rates)[len(rates) // 2]:,.0f} a second on one core, {len(set(texts))} schemas")
    os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
    leaks_found(folder)
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "qsql", "data", "prepare", str(folder), "--out", f"{out}/data"]
        command += ["--exclude", str(folder / "dev.json")]
        command += ["--db", str(arguments.databases)] if arguments.databases else []
        started = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"prepare: {seconds:.1f} s, {peak >> 10} MB")


if __name__ == "__main__":
    main()
