"""Measure exact match and canonical forms on one core, against the official tool and sqlglot.

    QSQL_SPIDER_DIR=... .venv/bin/python benches/exact.py --official test-suite-sql-eval --official-python python

On the demo data, or with QSQL_SPIDER_DIR on Spider's dev set with the DAIL-SQL predictions. The official tool, if a
clone of taoyds/test-suite-sql-eval is given, runs with an interpreter that has its packages (`nltk` with its English
Punkt model, `sqlparse`, `tqdm`); its imports and the reading of schemas are not counted. sqlglot is measured if it is
installed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

import qsql
from qsql import demo
from qsql.data import read_examples, read_predictions

if TYPE_CHECKING:
    from collections.abc import Callable

OFFICIAL = """
import json, os, sys, time
os.chdir(sys.argv[1]); sys.path.insert(0, sys.argv[1])
import evaluation as e
from process_sql import get_schema, Schema, get_sql
golds, predictions, db_ids, databases, tables, repeat = json.load(sys.stdin)
kmaps = e.build_foreign_key_map_from_json(tables)
schemas = {d: Schema(get_schema(os.path.join(databases, d, d + ".sqlite"))) for d in set(db_ids)}
empty = lambda: {"except": None, "from": {"conds": [], "table_units": []}, "groupBy": [], "having": [],
                 "intersect": None, "limit": None, "orderBy": [], "select": [False, []], "union": None, "where": []}
def rebuilt(sql, schema, kmap):
    units = e.build_valid_col_units(sql["from"]["table_units"], schema)
    return e.rebuild_sql_col(units, e.rebuild_sql_val(sql), kmap)
times = []
for _ in range(repeat):
    started = time.perf_counter()
    evaluator = e.Evaluator()
    for gold, prediction, db_id in zip(golds, predictions, db_ids):
        schema, kmap = schemas[db_id], kmaps[db_id]
        gold_sql = get_sql(schema, gold)
        evaluator.eval_hardness(gold_sql)
        try:
            predicted = get_sql(schema, prediction)
        except Exception:
            predicted = empty()
        evaluator.eval_exact_match(rebuilt(predicted, schema, kmap), rebuilt(gold_sql, schema, kmap))
    times.append(time.perf_counter() - started)
print(json.dumps(times))
"""


def measure(repeat: int, work: Callable[[], object]) -> float:
    """Median of seconds over several runs."""
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def sqlglot_forms(queries: list[str]) -> Callable[[], object] | None:
    """Parsing and generating with sqlglot, if it is there."""
    try:
        import sqlglot  # noqa: PLC0415
    except ModuleNotFoundError:
        return None

    def transpile() -> None:
        for query in queries:
            try:
                sqlglot.transpile(query, read="sqlite", write="sqlite")
            except sqlglot.errors.SqlglotError:  # noqa: PERF203
                continue

    return transpile


def canonical_forms(queries: list[str], schemas: list[qsql.Schema]) -> None:
    """Canonical forms of all queries that have one."""
    for query, schema in zip(queries, schemas, strict=True):
        try:
            qsql.canonicalize(query, schema)
        except qsql.QsqlError:  # noqa: PERF203
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the median is shown")
    parser.add_argument("--official", type=Path, help="clone of taoyds/test-suite-sql-eval to compare with")
    parser.add_argument("--official-python", default=sys.executable, help="interpreter that has its packages")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = os.environ.get("QSQL_SPIDER_DIR")
        if source:
            with tarfile.open(Path(source) / "databases.tar.xz") as archive:
                archive.extractall(scratch, filter="data")
            gold, tables, databases = (
                Path(source) / "dev_gold.sql",
                Path(source) / "tables.json",
                Path(scratch) / "databases",
            )
            predictions = Path(source) / "predictions" / "dail_gpt4.sql"
        else:
            gold, tables, databases = demo.GOLD, demo.TABLES, demo.build(Path(scratch))
            predictions = demo.PREDICTIONS["strong"]
        examples = read_examples(gold)
        golds, db_ids = [example.query for example in examples], [example.db_id for example in examples]
        texts = [text or "" for text in read_predictions(predictions, examples).predictions]
        files = {db_id: databases / db_id / f"{db_id}.sqlite" for db_id in set(db_ids)}
        schemas = {db_id: qsql.Schema.read(file, tables) for db_id, file in files.items()}
        of_query = [schemas[db_id] for db_id in db_ids]

        def match() -> None:
            for gold_text, text, schema in zip(golds, texts, of_query, strict=True):
                qsql.exact_match(gold_text, text, schema)

        exact = measure(arguments.repeat, match)
        canonical = measure(arguments.repeat, lambda: canonical_forms(texts, of_query))
        theirs = sqlglot_forms(texts)
        sqlglot = measure(arguments.repeat, theirs) if theirs else None
        official = None
        if arguments.official:
            inputs = [golds, texts, db_ids, str(databases.resolve()), str(tables.resolve()), arguments.repeat]
            command = [arguments.official_python, "-c", OFFICIAL, str(arguments.official.resolve())]
            done = subprocess.run(command, input=json.dumps(inputs), capture_output=True, text=True, check=True)
            official = statistics.median(json.loads(done.stdout.splitlines()[-1]))
    table = Table(title=f"{len(examples)} pairs of {predictions.stem}, one core")
    for column in ("what", "qsql ms", "others ms", "times as fast"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, ours, other in (
        ("exact match, against the official tool", exact, official),
        ("canonical forms, against sqlglot", canonical, sqlglot),
    ):
        cells = ("-", "-") if other is None else (f"{1000 * other:.0f}", f"{other / ours:.0f}")
        table.add_row(name, f"{1000 * ours:.1f}", *cells)
    Console(width=100).print(table)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
