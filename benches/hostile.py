"""Score the hostile predictions with the limits that users have, and show how far each goes over its time.

    .venv/bin/python benches/hostile.py [--timeout 2] [--over 50] [--runs 20]

First each prediction alone on one thread, against a gold with rows and one without; then all at once on four threads
in a process of its own, for its peak memory; then all, with few steps, in many runs on 1, 2 and 8 threads. Ends with
status 1 if the timeouts took 2 s more than they may, the process 1 GB or more, if a file was left or changed, or if
verdicts differ.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from qsql import Scorer, Verdict, demo

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import corpus

FEW_STEPS = {"max_steps": 500, "max_memory": 8 << 20}


def score(databases: Path, items: list[corpus.Hostile], threads: int, timeout: float, **limits: int) -> list[Verdict]:
    """Score items against a gold with rows and one without."""
    golds = [corpus.gold(item.database, rows=rows) for item in items for rows in (True, False)]
    texts, names = ([getattr(item, name) for item in items for _ in range(2)] for name in ("text", "database"))
    return Scorer(databases, threads=threads, timeout=timeout, **limits).score(golds, texts, names)


def peak(databases: Path, timeout: float, results: multiprocessing.Queue[tuple[float, int]]) -> None:
    """Score the corpus on four threads; answer with seconds and peak memory in MB."""
    started = time.perf_counter()
    score(databases, corpus.load(), 4, timeout)
    results.put((time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of change of every file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


def one_by_one(databases: Path, items: list[corpus.Hostile], timeout: float, shown: float) -> float:
    """Show what each item takes; returns the seconds that all took beyond their timeouts, where there were any."""
    table = Table("prediction", "state", title=f"over {timeout:g} s, or {shown:g} ms over it")
    table.add_column("seconds", justify="right")
    table.add_column("ms over", justify="right")
    beyond = rest = 0.0
    states: Counter[str] = Counter()
    for item in items:
        for rows in (True, False):
            scorer = Scorer(databases, threads=1, timeout=timeout)
            started = time.perf_counter()
            (verdict,) = scorer.score([corpus.gold(item.database, rows=rows)], [item.text], [item.database])
            seconds = time.perf_counter() - started
            states[verdict.state] += 1
            over = max(0.0, seconds - timeout)
            beyond += over
            rest += seconds if verdict.state != "timeout" else 0.0
            if over * 1000 >= shown:
                table.add_row(item.id, verdict.state, f"{seconds:.2f}", f"{1000 * over:.0f}")
    Console(width=100).print(table)
    print(f"{sum(states.values())} scorings: {dict(states)}")
    print(f"{beyond:.2f} s over the limits in all; those that no timeout ended took {rest:.1f} s")
    return beyond


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds for one query on one database")
    parser.add_argument("--over", type=float, default=50.0, help="show what goes over its time by so many ms")
    parser.add_argument("--runs", type=int, default=20, help="runs that must agree")
    arguments = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        databases = corpus.build_archive(demo.build(Path(scratch)))
        before = snapshot(Path(scratch))
        items = corpus.load()
        if one_by_one(databases, items, arguments.timeout, arguments.over) > 2:
            failed.append("time")
        results: multiprocessing.Queue[tuple[float, int]] = multiprocessing.get_context("spawn").Queue()
        child = multiprocessing.get_context("spawn").Process(target=peak, args=(databases, arguments.timeout, results))
        child.start()
        seconds, memory = results.get()
        child.join()
        print(f"all at once on 4 threads: {seconds:.1f} s, {memory} MB")
        if memory >= 1024 or child.exitcode != 0:
            failed.append("memory")
        runs = [
            [repr(verdict) for verdict in score(databases, items, (1, 2, 8)[run % 3], 60.0, **FEW_STEPS)]
            for run in range(arguments.runs)
        ]
        print(f"{len(runs)} runs on 1, 2 and 8 threads: {len({tuple(run) for run in runs})} outcome")
        if any(run != runs[0] for run in runs):
            failed.append("verdicts")
        if snapshot(Path(scratch)) != before:
            failed.append("files")
    print(f"failed: {', '.join(failed)}" if failed else "all as it should be")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
