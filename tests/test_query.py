"""One query with its rows: what comes back, and what a hostile one cannot do."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import sys
from contextlib import closing

import corpus
import psutil
import pytest
from processes import started, stop, wait_for

import qsql

ENDLESS = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT {} FROM r"


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "x.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE t (a INTEGER, b);"
            "INSERT INTO t VALUES (1, 'x'), (2, NULL), (3, x'00ff'), (4, 1.5), (5, CAST(x'ff' AS TEXT));"
        )
    return path


def test_rows_are_what_sqlite3_returns(database):
    result = qsql.query(database, 'SELECT a, b AS "two words" FROM t ORDER BY a')
    assert (result.state, result.detail, result.truncated) == ("ran", None, False)
    assert result.columns == ["a", "two words"]
    assert result.rows == [(1, "x"), (2, None), (3, b"\x00\xff"), (4, 1.5), (5, "")]
    assert repr(result) == 'QueryResult(state=\'ran\', columns=["a", "two words"], rows=5)'


def test_no_more_rows_are_computed_than_asked_for(database):
    result = qsql.query(database, ENDLESS.format("x"), max_rows=3)
    assert (result.rows, result.truncated) == ([(1,), (2,), (3,)], True)
    assert qsql.query(database, "SELECT a FROM t", max_rows=0).rows == []


def test_text_without_a_statement_has_no_columns(database):
    result = qsql.query(database, "-- nothing")
    assert (result.state, result.columns, result.rows) == ("ran", [], [])


@pytest.mark.parametrize(
    ("sql", "state", "detail"),
    [
        ("SELECT missing FROM t", "sql_error", "no such column: missing"),
        ("SELECT 1; SELECT 2", "sql_error", "more than one statement"),
        ("DELETE FROM t", "forbidden", None),
        ("ATTACH 'other.sqlite' AS other", "forbidden", None),
        ("SELECT load_extension('x')", "forbidden", None),
        ("PRAGMA journal_mode = WAL", "forbidden", None),
        (ENDLESS.format("count(*)"), "timeout", "the budget of steps ran out"),
        (ENDLESS.format("hex(zeroblob(9999))"), "too_large", "the rows take more than 64 MB"),
        (f"SELECT {'(' * 600}1{')' * 600}", "too_large", None),
    ],
)
def test_what_a_query_does_wrong_is_its_state(database, sql, state, detail):
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    result = qsql.query(database, sql, max_rows=10**9, max_steps=10_000_000)
    assert (result.state, result.rows, result.columns) == (state, [], [])
    assert result.detail if detail is None else result.detail == detail
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before
    assert list(database.parent.iterdir()) == [database]


def test_hostile_predictions_end_in_a_state(demo_databases):
    database = demo_databases / "seed_bank" / "seed_bank.sqlite"
    before = database.read_bytes()
    for item in corpus.load()[::7]:
        result = qsql.query(database, item.text, max_rows=10, timeout=5, max_steps=2_000_000)
        assert result.state in {"ran", "sql_error", "timeout", "too_large", "forbidden"}, item
        assert len(result.rows) <= 10
    assert database.read_bytes() == before


def test_a_missing_database_is_an_error(tmp_path):
    with pytest.raises(qsql.QsqlError, match=r"nothing\.sqlite"):
        qsql.query(tmp_path / "nothing.sqlite", "SELECT 1")
    with pytest.raises(qsql.QsqlError, match="timeout"):
        qsql.query(tmp_path / "nothing.sqlite", "SELECT 1", timeout=0)


def test_a_file_that_is_no_database_says_so(tmp_path):
    (tmp_path / "x.sqlite").write_text("no database" * 100, encoding="utf-8")
    assert qsql.query(tmp_path / "x.sqlite", "SELECT 1").state == "database_error"


def test_ctrl_c_stops_it(database):
    call = f"qsql.query({str(database)!r}, {ENDLESS.format('count(*)')!r}, max_steps=2**60, timeout=3600)"
    code = f"import qsql; print('go', flush=True); {call}"
    with started([sys.executable, "-c", code]) as process:
        assert process.stdout.readline() == "go\n"
        begun = cpu_seconds(process)
        # It computes, so that it is in the query by now.
        wait_for(lambda: cpu_seconds(process) > begun + 0.3, process)
        status, _, said = stop(process, signal.SIGINT)
    assert status != 0
    assert "KeyboardInterrupt" in said


def cpu_seconds(process):
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system
