"""What data preparation takes on Spider: seconds and memory of the whole command, and checks of queries a second.

    QSQL_SPIDER_DIR=... python benches/data.py [--databases DIR]

With a folder of databases the stage `execution` runs too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from qsql import check
from qsql.schema_text import read_schemas


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
