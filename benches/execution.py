"""Measure test-suite execution accuracy: golds and predictions over every variant, against floor and official tool.

    make bench
    QSQL_SPIDER_DIR=... .venv/bin/python benches/execution.py --official test-suite-sql-eval --official-python python

Runs on the demo databases; with QSQL_SPIDER_DIR on Spider's dev set and the variants there. The floor steps every
distinct gold once on every database, in one thread of Python's `sqlite3` over open connections. The official tool, if a
clone of taoyds/test-suite-sql-eval is given, runs with an interpreter that has its packages (`sqlparse`, `tqdm`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sqlite3
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from qsql import demo
from qsql.data import Example, read_examples

OFFICIAL = """
import json, os, sys, time
os.chdir(sys.argv[1]); sys.path.insert(0, sys.argv[1])
from exec_eval import eval_exec_match
golds, predictions, databases = json.load(sys.stdin)
started = time.perf_counter()
for (gold, db_id), prediction in zip(golds, predictions):
    path = os.path.join(databases, db_id, db_id + ".sqlite")
    eval_exec_match(path, prediction.replace("value", "1"), gold, False, False, False)
print(time.perf_counter() - started)
"""


def unpack(source: Path, directory: Path) -> Path:
    """Unpack the suite of a Spider folder."""
    with tarfile.open(source / "suite.tar.xz") as archive:
        archive.extractall(directory, filter="data")
    return directory / "suite"


def floor(examples: list[Example], databases: Path) -> float:
    """Seconds to step every distinct gold once on every database of its suite."""
    seconds = 0.0
    for db_id in sorted({example.db_id for example in examples}):
        golds = {example.query for example in examples if example.db_id == db_id}
        for file in sorted((databases / db_id).glob("*.sqlite")):
            connection = sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)
            connection.text_factory = bytes
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
            started = time.perf_counter()
            for gold in golds:
                for _ in connection.execute(gold):
                    pass
            seconds += time.perf_counter() - started
            connection.close()
    return seconds


def qsql(gold: Path, predictions: Path, databases: Path, threads: int) -> tuple[float, float, dict[str, object]]:
    """Seconds of wall clock, peak memory in MB and the summary of one `qsql eval` in a process of its own."""
    command = [sys.executable, "-m", "qsql", "eval", "--format", "json", "--threads", str(threads)]
    command += ["--gold", str(gold), "--pred", str(predictions), "--db", str(databases)]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        output, _ = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode != 0:
        sys.exit(process.returncode)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return seconds, peak, json.loads(output)


def official(python: str, clone: Path, examples: list[Example], predictions: Path, databases: Path) -> float:
    """Seconds that the official tool takes, without its imports."""
    lines = [line.split("\t")[0].strip() for line in predictions.read_text(encoding="utf-8").splitlines()]
    golds = [(example.query, example.db_id) for example in examples]
    done = subprocess.run(
        [python, "-c", OFFICIAL, str(clone.resolve())],
        input=json.dumps([golds, lines, str(databases.resolve())]),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the median is shown")
    parser.add_argument("--official", type=Path, help="clone of taoyds/test-suite-sql-eval to compare with")
    parser.add_argument("--official-python", default=sys.executable, help="interpreter that has its packages")
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as scratch:
        source = os.environ.get("QSQL_SPIDER_DIR")
        if source:
            gold, databases = Path(source) / "dev_gold.sql", unpack(Path(source), Path(scratch))
            names = ("goldself", "dail_gpt4", "c3", "dev_10")
            sets = {name: Path(source) / "predictions" / f"{name}.sql" for name in names}
        else:
            gold, databases, sets = demo.GOLD, demo.build(Path(scratch)), demo.PREDICTIONS
        examples = read_examples(gold)
        files = sum(len(list((databases / db_id).glob("*.sqlite"))) for db_id in {one.db_id for one in examples})
        base = statistics.median(floor(examples, databases) for _ in range(arguments.repeat))
        table = Table(title=f"{len(examples)} golds, {files} databases; floor {base:.2f} s, one thread")
        for column in (
            "predictions",
            "threads",
            "seconds",
            "x floor",
            "peak MB",
            "execution %",
            "official s",
            "faster",
        ):
            table.add_column(column, justify="left" if column == "predictions" else "right")
        for name, predictions in sets.items():
            theirs = None
            if arguments.official:
                theirs = official(arguments.official_python, arguments.official, examples, predictions, databases)
            for threads in sorted({1, cores}):
                runs = [qsql(gold, predictions, databases, threads) for _ in range(arguments.repeat)]
                seconds = statistics.median(run[0] for run in runs)
                totals = runs[0][2]["all"]
                share = totals["execution"] if isinstance(totals, dict) else None
                table.add_row(
                    name,
                    str(threads),
                    f"{seconds:.2f}",
                    f"{seconds / base:.2f}",
                    f"{max(run[1] for run in runs):.0f}",
                    "-" if share is None else f"{100 * share:.1f}",
                    "-" if theirs is None else f"{theirs:.1f}",
                    "-" if theirs is None else f"{theirs / seconds:.0f}x",
                )
    Console(width=100).print(table)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {cores} cores, Python {platform.python_version()}, whole processes")


if __name__ == "__main__":
    main()
