"""From the second variant on, a prediction that compiles to the gold's program is not run. No other is spared."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from qsql import Scorer

# Tables, rows of all variants but one, rows of that one, gold, prediction. On the last variant they return other rows,
# or the same in another order where the gold sorts, though a rewriting that looks sound makes one of the other.
PAIRS = {
    "a star over columns of one name": (
        "CREATE TABLE a (id, name); CREATE TABLE b (id, v); CREATE TABLE c (x)",
        "INSERT INTO a VALUES (1, 'n'); INSERT INTO b VALUES (1, 2); INSERT INTO c VALUES (0)",
        "INSERT INTO a VALUES (1, 'n'); INSERT INTO b VALUES (7, 2); INSERT INTO c VALUES (0)",
        "SELECT r.* FROM (SELECT * FROM a JOIN b) AS r JOIN c",
        "SELECT r.id, r.name, r.id, r.v FROM (SELECT * FROM a JOIN b) AS r JOIN c",
    ),
    "an alias that hid a column": (
        "CREATE TABLE t (name, age)",
        "INSERT INTO t VALUES (3, 3)",
        "INSERT INTO t VALUES ('n', 3)",
        "SELECT r.name FROM (SELECT name AS id, age AS name FROM t) AS r",
        "SELECT name FROM (SELECT name, age AS name FROM t)",
    ),
    "a column called true": (
        'CREATE TABLE t (a, "true")',
        "INSERT INTO t VALUES (1, 1)",
        "INSERT INTO t VALUES (1, 2), (3, 3)",
        "SELECT a FROM t WHERE a = true",
        "SELECT a FROM t WHERE a IN (true)",
    ),
    "a column called false": (
        'CREATE TABLE t (a, "false")',
        "INSERT INTO t VALUES (0, 0)",
        "INSERT INTO t VALUES (0, 2), (3, 3)",
        "SELECT count(*) FROM t WHERE NOT false",
        "SELECT count(*) FROM t WHERE NOT 0",
    ),
    "a negation that turns an outer join into an inner one": (
        "CREATE TABLE s (id INTEGER PRIMARY KEY, a); CREATE TABLE t (a, b); CREATE INDEX s_a ON s (a)",
        "INSERT INTO s VALUES (1, 1); INSERT INTO t VALUES (1, 1)",
        "INSERT INTO s VALUES (1, 2), (2, 1); INSERT INTO t VALUES (1, 5), (2, 5)",
        "SELECT s.id FROM s LEFT JOIN t ON s.a = t.a WHERE NOT t.b IS NULL ORDER BY t.b LIMIT 1",
        "SELECT s.id FROM s LEFT JOIN t ON s.a = t.a WHERE t.b IS NOT NULL ORDER BY t.b LIMIT 1",
    ),
    "a negation that opens a partial index": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE INDEX i ON t (b DESC, a DESC) WHERE a IS NOT NULL",
        "INSERT INTO t VALUES (1, 1, 1)",
        "INSERT INTO t VALUES (1, 1, 1), (2, 2, 1), (3, 3, 1)",
        "SELECT id FROM t WHERE NOT a IS NULL AND b = 1 ORDER BY b LIMIT 2",
        "SELECT id FROM t WHERE a IS NOT NULL AND b = 1 ORDER BY b LIMIT 2",
    ),
    "floats that share 16 digits": (
        "CREATE TABLE t (a REAL)",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (0.3)",
        "SELECT a FROM t WHERE a >= 0.3",
        "SELECT a FROM t WHERE a >= 0.30000000000000004",
    ),
    "blobs that share a beginning": (
        "CREATE TABLE t (a)",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (x'0001')",
        "SELECT count(*) FROM t WHERE a = x'0001'",
        "SELECT count(*) FROM t WHERE a = x'0002'",
    ),
    "a string and a name in double quotes": (
        'CREATE TABLE t (a, "b c")',
        "INSERT INTO t VALUES ('b c', 'b c')",
        "INSERT INTO t VALUES ('b c', 'x'), ('x', 'x')",
        'SELECT a FROM t WHERE a = "b c"',
        "SELECT a FROM t WHERE a = 'b c'",
    ),
    "a collation on the other side": (
        "CREATE TABLE t (a COLLATE NOCASE, b)",
        "INSERT INTO t VALUES ('x', 'x')",
        "INSERT INTO t VALUES ('x', 'X')",
        "SELECT a FROM t WHERE a = b",
        "SELECT a FROM t WHERE b = a",
    ),
}


def suite(folder, tables, rows, last, variants=6):
    (folder / "db").mkdir(parents=True)
    for number in range(variants):
        name = "db.sqlite" if number == 0 else f"dbv{number}.sqlite"
        with closing(sqlite3.connect(folder / "db" / name)) as connection:
            connection.executescript(f"{tables}; {rows if number < variants - 1 else last}")
    return folder


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_query_that_only_looks_the_same_is_run(tmp_path, name, is_reversed):
    tables, rows, last, gold, prediction = PAIRS[name]
    if is_reversed:
        gold, prediction = prediction, gold
    databases = suite(tmp_path, tables, rows, last)
    with closing(sqlite3.connect(databases / "db" / "dbv5.sqlite")) as connection:
        assert connection.execute(gold).fetchall() != connection.execute(prediction).fetchall()
    others = ["SELECT 1", prediction.upper(), f"{prediction} -- again", gold]
    verdicts = Scorer(databases).score([gold] * 5, [prediction, *others], ["db"] * 5, "exec")
    assert (verdicts[0].execution, verdicts[0].failed_on) == (False, "dbv5.sqlite")
    assert verdicts[4].execution
    # Alone it fares no better.
    (alone,) = Scorer(databases).score([gold], [prediction], ["db"], "exec")
    assert (alone.execution, alone.failed_on, alone.detail) == (False, "dbv5.sqlite", verdicts[0].detail)


@pytest.mark.parametrize(("variants", "runs"), [(3, 3), (4, 1), (6, 1)])
def test_a_spelling_of_the_gold_runs_on_the_first_variant_only(tmp_path, variants, runs):
    tables, rows = "CREATE TABLE t (a, b)", "INSERT INTO t VALUES (1, 2)"
    scorer = Scorer(suite(tmp_path, tables, rows, rows, variants), threads=1)
    scorer.execution(["SELECT a FROM t"], ["SELECT 1"], ["db"])
    before = scorer.executions
    assert scorer.execution(["SELECT a FROM t"], ["select T1.A from T as T1"], ["db"]).tolist() == [True]
    assert scorer.executions - before == runs


def test_where_a_variant_has_another_schema_all_are_run(demo_databases, tmp_path):
    gold = "SELECT species_id FROM species"
    predictions = ["select S.Species_ID from SPECIES s", "SELECT species.species_id FROM species;"]
    jobs = [gold] * 2, predictions, ["seed_bank"] * 2
    variants = len(list((demo_databases / "seed_bank").glob("*.sqlite")))
    scorer = Scorer(demo_databases, threads=1)
    assert scorer.execution(*jobs).tolist() == [True, True]
    assert scorer.executions == variants + 2

    # There a name may mean something else.
    shutil.copytree(demo_databases / "seed_bank", tmp_path / "seed_bank")
    other = max((tmp_path / "seed_bank").glob("*.sqlite"), key=lambda path: (len(path.name), path.name))
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("ALTER TABLE species ADD COLUMN s")
    scorer = Scorer(tmp_path, threads=1)
    assert scorer.execution(*jobs).tolist() == [True, True]
    assert scorer.executions == variants + 4


def test_chance_has_no_program(tmp_path):
    rows = "INSERT INTO t VALUES (1)"
    databases = suite(tmp_path, "CREATE TABLE t (a)", rows, rows)
    gold, prediction = "SELECT random() FROM t", "SELECT RANDOM() FROM t"
    assert Scorer(databases).execution([gold], [prediction], ["db"]).tolist() == [False]
