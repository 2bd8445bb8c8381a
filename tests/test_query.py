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


FLOATS = {
    "instr(x, '4')": 0,
    "instr(x, '30000000000000004')": 0,
    "instr('0.30000000000000004', x)": 1,
    "instr(y, '3333333333333333')": 0,
    "instr(x || '', x)": 1,
    "instr(x, x)": 1,
    "replace(x, '0', 'o')": "o.3",
    "replace('a0.3b', x, '!')": "a!b",
    "trim(x, '0.')": "3",
    "ltrim(x, '0')": ".3",
    "rtrim(x, '123')": "0.",
    "x LIKE '0.3'": 1,
    "x GLOB '*4'": 0,
    "'0.3' LIKE x": 1,
    "length(x)": 3,
    "substr(x, 3)": "3",
    "hex(x)": "302E33",
    "x || ''": "0.3",
    "CAST(x AS TEXT)": "0.3",
    "CAST(x AS BLOB)": b"0.3",
    "printf('%s', x)": "0.3",
    "concat(x, '')": "0.3",
    "max(x, '') || ''": "",
    "(SELECT x) || ''": "0.3",
    "CAST(x AS TEXT) = '0.3'": 1,
    "json_array(x, y)": "[0.3,0.333333333333333]",
    "json_object('a', x)": '{"a":0.3}',
    "json_quote(x)": "0.3",
    "json_set('{}', '$.a', x)": '{"a":0.3}',
    "json_insert('[]', '$[0]', x)": "[0.3]",
    "json(jsonb_array(x))": "[0.3]",
    "json(jsonb_object('a', x))": '{"a":0.3}',
    "json_extract(json_array(x), '$[0]') = 0.3": 1,
    "json_array(json_extract('[0.30000000000000004]', '$[0]'))": "[0.3]",
    "group_concat(x)": "0.3",
    "group_concat(x, y)": "0.3",
    "instr(max(x), '4')": 0,
    "json_group_array(x)": "[0.3]",
    "json_group_object('a', x)": '{"a":0.3}',
    "json(jsonb_group_array(x))": "[0.3]",
    "json(jsonb_group_object('a', x))": '{"a":0.3}',
    "group_concat(x) OVER ()": "0.3",
    "json_group_array(x) OVER (ORDER BY y)": "[0.3]",
    "instr(lag(x, 0) OVER (), '4')": 0,
    "instr(first_value(x) OVER (), '4')": 0,
    "(SELECT instr(value, '4') FROM json_each('[0.30000000000000004]'))": 0,
    "(SELECT atom || '' FROM json_tree(json_array(x)) WHERE atom IS NOT NULL)": "0.3",
    "(SELECT instr(v, '4') FROM (SELECT x AS v UNION SELECT 'a' ORDER BY 1 DESC) WHERE v <> 'a')": 0,
    "(WITH m(v) AS MATERIALIZED (SELECT x) SELECT instr(v, '4') FROM m)": 0,
}


@pytest.mark.parametrize("expression", FLOATS)
def test_a_float_becomes_text_with_fifteen_digits(tmp_path, expression):
    """However it does, as in the versions of SQLite that the official tool ran on."""
    path = tmp_path / "x.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE t (x REAL, y); INSERT INTO t VALUES (0.1 + 0.2, 1.0 / 3)")
    connection.close()
    result = qsql.query(path, f"SELECT {expression} FROM t")
    assert (result.state, result.rows) == ("ran", [(FLOATS[expression],)])


def test_hostile_predictions_end_in_a_state(demo_databases):
    database = demo_databases / "seed_bank" / "seed_bank.sqlite"
    before = database.read_bytes()
    for item in [item for item in corpus.load() if item.database != corpus.ARCHIVE][::7]:
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
