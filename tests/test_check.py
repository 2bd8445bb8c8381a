"""What is found out about queries and schemas without golds: checks, denotations, descriptions."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
from processes import PATIENCE

from qsql import QsqlError, Scorer, check
from qsql._core import describe, describe_definitions

SCHEMA = """CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, "birth year" INTEGER);
CREATE TABLE song (id INTEGER, singer_id INTEGER, title TEXT, FOREIGN KEY (singer_id) REFERENCES singer (id));"""


@pytest.fixture
def databases(tmp_path):
    (tmp_path / "music").mkdir()
    with sqlite3.connect(tmp_path / "music" / "music.sqlite") as connection:
        connection.executescript(SCHEMA)
        connection.executemany(
            "INSERT INTO singer VALUES (?, ?, ?)", [(1, "Ann", 1980), (2, "Bea", None), (3, "Ann", 1975)]
        )
    return tmp_path


@pytest.mark.parametrize(
    ("query", "error", "name"),
    [
        ('SELECT name FROM singer WHERE "birth year" > 1970', None, None),
        ("SELECT age FROM singer", "no_such_column", "age"),
        ("SELECT s.age FROM singer AS s", "no_such_column", "s.age"),
        ("SELECT name FROM artist", "no_such_table", "artist"),
        ("SELECT id FROM singer JOIN song ON singer.id = singer_id", "ambiguous_column", "id"),
        ("SELECT year(name) FROM singer", "no_such_function", "year"),
        ("SELECT name singer FROM", "syntax", None),
        ("", "syntax", None),
        ("SELECT name, count(*) FROM singer WHERE count(*) > 1", "other", None),
        ("DROP TABLE singer", "forbidden", None),
        ("SELECT " + "(" * 2000 + "1" + ")" * 2000, "too_large", None),
        ("SELECT name FROM singer -- \ud800", None, None),
    ],
)
def test_a_check_tells_the_kind_of_mistake_and_the_name(query, error, name):
    [found] = check([SCHEMA], [query])
    assert (found.error, found.name) == (error, name)
    assert (found.detail is None) == (error is None)


def test_a_schema_that_does_not_compile_is_told_from_its_queries():
    found = check(["CREATE TABLE t (a", SCHEMA], ["SELECT 1", "SELECT 1"])
    assert [item.error for item in found] == ["schema", None]
    assert found[0].detail == "incomplete input"


def test_a_schema_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scripts = ["ATTACH 'x.sqlite' AS x", "VACUUM INTO 'x.sqlite'", "CREATE TABLE t (a); INSERT INTO t VALUES (1)"]
    assert [item.error for item in check(scripts, ["SELECT 1"] * 3)] == ["schema"] * 3
    assert list(tmp_path.iterdir()) == []


def test_checks_of_many_keep_their_order():
    schemas = [f"CREATE TABLE t{number % 7} (a)" for number in range(5000)]
    queries = [f"SELECT a FROM t{number % 5}" for number in range(5000)]
    expected = [None if number % 7 == number % 5 else "no_such_table" for number in range(5000)]
    progress = []
    assert [item.error for item in check(schemas, queries, progress=lambda *at: progress.append(at))] == expected
    assert all(total == 5000 for _, total in progress)


def test_lists_that_differ_in_length_are_an_error():
    with pytest.raises(QsqlError, match=r"1 schemas and 2 queries.*\nhint: "):
        check([SCHEMA], ["SELECT 1", "SELECT 2"])


def test_denotations_are_equal_where_results_are(databases):
    scorer = Scorer(databases)
    queries = [
        "SELECT name FROM singer ORDER BY id",
        "SELECT name FROM singer ORDER BY id DESC",
        "SELECT DISTINCT name FROM singer",
        "SELECT title FROM song",
        "SELECT age FROM singer",
        "DELETE FROM singer",
    ]
    found = scorer.denotations(queries, ["music"] * len(queries))
    assert [item.state for item in found] == ["ran"] * 4 + ["sql_error", "forbidden"]
    assert [(item.columns, item.rows) for item in found[:4]] == [(1, 3), (1, 3), (1, 2), (1, 0)]
    assert found[0].digest == found[1].digest
    assert len({item.digest for item in found[:4]}) == 3
    assert found[4].digest is None
    assert found[4].detail == "no such column: age"
    assert scorer.executions == len(queries)


def test_checks_and_denotations_show_what_they_found(databases):
    assert [repr(item) for item in check([SCHEMA] * 2, ["SELECT 1", "SELECT age FROM singer"])] == [
        "Check(error=None)",
        "Check(error='no_such_column', detail=\"no such column: age\")",
    ]
    ran, failed = Scorer(databases).denotations(["SELECT name FROM singer", "SELECT age FROM singer"], ["music"] * 2)
    assert repr(ran) == "Denotation(state='ran', columns=1, rows=3)"
    assert repr(failed).startswith("Denotation(state='sql_error', ")
    assert "no such column: age" in repr(failed)


def test_denotations_need_a_database_each(databases):
    with pytest.raises(QsqlError, match=r"2 queries and 1 database names.*\nhint: "):
        Scorer(databases).denotations(["SELECT 1", "SELECT 2"], ["music"])


def test_denotations_stop_at_the_limits(databases):
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"
    [found] = Scorer(databases, max_steps=10_000).denotations([endless], ["music"])
    assert (found.state, found.digest) == ("timeout", None)


def test_a_database_that_cannot_be_read_has_no_denotations(databases):
    (databases / "music" / "music.sqlite").write_bytes(b"no database" * 1000)
    found = Scorer(databases).denotations(["SELECT 1 FROM singer", "SELECT 1"], ["music", "other"])
    assert [one.state for one in found] == ["database_error"] * 2
    assert [one.detail.partition(" `")[0] for one in found] == ["file is not a database", "no file"]
    with pytest.raises(QsqlError, match="is not a database name"):
        Scorer(databases).denotations(["SELECT 1"], [".."])


def test_tables_are_described_alike_from_file_and_text(databases):
    from_file = describe(databases / "music" / "music.sqlite")
    assert from_file == describe_definitions(SCHEMA)
    assert from_file[0] == {
        "name": "singer",
        "columns": [("id", "INTEGER", 1), ("name", "TEXT", 0), ("birth year", "INTEGER", 0)],
        "foreign_keys": [],
        "values": [],
    }
    assert from_file[1]["foreign_keys"] == [(["singer_id"], "singer", ["id"])]


def test_descriptions_have_example_values(databases):
    [singer, song] = describe(databases / "music" / "music.sqlite", values=2)
    assert singer["values"] == [[1, 2], ["Ann", "Bea"], [1980, 1975]]
    assert song["values"] == [[], [], []]


NESTED = """
import threading
from qsql import QsqlError, check
from qsql._core import describe_definitions
definitions = [
    "CREATE TABLE t (a, CHECK (" + "(" * 490 + "a" + ")" * 490 + "))",
    "CREATE TABLE t AS " + "SELECT * FROM (" * 240 + "SELECT 1 AS a" + ")" * 240,
    "CREATE TABLE t AS SELECT " + " + ".join(["1"] * 990),
]
def work():
    for text in definitions:
        try:
            describe_definitions(text)
        except QsqlError:
            pass
    check(definitions, ["SELECT 1"] * 3)
    print("done")
threading.stack_size(1 << 18)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def test_nested_definitions_need_no_stack_of_the_caller():
    done = subprocess.run([sys.executable, "-c", NESTED], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_descriptions_of_nothing_are_errors(tmp_path):
    with pytest.raises(QsqlError, match=r"missing\.sqlite.*\nhint: "):
        describe(tmp_path / "missing.sqlite")
    (tmp_path / "text.sqlite").write_text("no database" * 1000)
    with pytest.raises(QsqlError, match="must be a SQLite database"):
        describe(tmp_path / "text.sqlite")
    with pytest.raises(QsqlError, match="does not compile: near"):
        describe_definitions("CREATE TABEL t (a)")
