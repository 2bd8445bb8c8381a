"""Exact match and canonical forms on one core, against the official tool and sqlglot: a part of `speed.py`.

sqlglot is measured if it is installed. Of the official tool neither its imports nor the reading of schemas count.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from setting import Setting, median, timed

import qsql
from qsql.data import read_predictions

if TYPE_CHECKING:
    import argparse
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


def measure(arguments: argparse.Namespace, data: Setting) -> dict[str, Any]:
    """Seconds for the last set of predictions."""
    name, predictions = list(data.predictions.items())[-1]
    examples, repeat = data.examples, arguments.repeat
    golds, db_ids = [example.query for example in examples], [example.db_id for example in examples]
    texts = [text or "" for text in read_predictions(predictions, examples).predictions]
    files = {db_id: data.databases / db_id / f"{db_id}.sqlite" for db_id in set(db_ids)}
    schemas = {db_id: qsql.Schema.read(file, data.tables) for db_id, file in files.items()}
    of_query = [schemas[db_id] for db_id in db_ids]

    def match() -> None:
        for gold, text, schema in zip(golds, texts, of_query, strict=True):
            qsql.exact_match(gold, text, schema)

    found: dict[str, Any] = {"predictions": name, "pairs": len(examples)}
    found["exact"] = median(repeat, lambda: timed(match))
    found["canonical"] = median(repeat, lambda: timed(lambda: canonical_forms(texts, of_query)))
    theirs = sqlglot_forms(texts)
    found["sqlglot"] = median(repeat, lambda: timed(theirs)) if theirs else None
    found["official"] = None
    if arguments.official:
        inputs = [golds, texts, db_ids, str(data.databases.resolve()), str(data.tables.resolve()), repeat]
        command = [arguments.official_python, "-c", OFFICIAL, str(arguments.official.resolve())]
        done = subprocess.run(command, input=json.dumps(inputs), stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            sys.exit("the official tool failed")
        found["official"] = statistics.median(json.loads(done.stdout.splitlines()[-1]))
    return found
