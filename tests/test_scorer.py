"""The native scorer from Python: states, failures, signals, threads, forks."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import sqlite3
import sys

import numpy as np
import pytest
from processes import started, stop

import qsql
from qsql import QsqlError, Scorer

ENDLESS = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r"


@pytest.fixture
def databases(tmp_path):
    """Folder with one database `shop` of three variants: t holds 1 to 3, 1 to 2, and nothing."""
    (tmp_path / "shop").mkdir()
    for suffix, rows in [("", 3), ("v0", 2), ("v1", 0)]:
        connection = sqlite3.connect(tmp_path / "shop" / f"shop{suffix}.sqlite")
        connection.execute("CREATE TABLE t (a INTEGER, b TEXT UNIQUE)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(row, f"r{row}") for row in range(1, rows + 1)])
        connection.commit()
        connection.close()
    return tmp_path


def judge(databases, prediction, gold="SELECT a FROM t", **settings):
    (verdict,) = Scorer(databases, **settings).score([gold], [prediction], ["shop"])
    return verdict


def test_a_right_prediction_holds_on_every_variant(databases):
    verdict = judge(databases, "SELECT a FROM t WHERE b LIKE 'r%'")
    assert (verdict.execution, verdict.state, verdict.databases) == (True, "scored", 3)
    assert verdict.failed_on is None
    assert verdict.detail is None
    assert repr(verdict) == "Verdict(execution=True, exact=False, state='scored')"


def test_the_first_variant_that_rejects_is_named(databases):
    verdict = judge(databases, "SELECT a FROM t UNION ALL SELECT 3 WHERE (SELECT count(*) FROM t) < 3")
    assert (verdict.execution, verdict.failed_on) == (False, "shopv0.sqlite")
    assert verdict.detail == "more than 2 rows, which the gold has"


@pytest.mark.parametrize(
    ("prediction", "state", "detail"),
    [
        ("SELECT price FROM t", "sql_error", "no such column: price"),
        ("SELEC a FROM t", "sql_error", 'near "SELEC": syntax error'),
        ("SELECT a FROM t WHERE a = ?", "sql_error", "parameters"),
        ("SELECT a FROM t \0", "sql_error", "null character"),
        ("SELECT '\udcff'", "sql_error", "not valid UTF-8"),
        ("DELETE FROM t", "forbidden", "DELETE"),
        ("DROP TABLE t", "forbidden", "a change of the schema"),
        ("PRAGMA user_version = 3", "forbidden", "PRAGMA"),
        ("SELECT '" + "x" * 10_000_000 + "'", "too_large", "a query of 10000009 bytes, at most 50000"),
        (f"SELECT count(*) FROM ({ENDLESS.replace('count(*)', 'x')} ORDER BY -x)", "too_large", "out of memory"),
        ("SELECT zeroblob(1000000000)", "too_large", "too big"),
        (f"SELECT {' UNION SELECT '.join(map(str, range(501)))}", "too_large", "too many terms in compound SELECT"),
        (None, "missing", "no prediction"),
        ("SELECT a, b FROM t", "scored", "2 columns, the gold has 1"),
        ("SELECT a FROM t WHERE a < 3", "scored", "2 rows, the gold has 3"),
        ("SELECT -a FROM t", "scored", "other cells than the gold"),
    ],
)
def test_whatever_a_prediction_does_wrong_is_its_state(databases, prediction, state, detail):
    # None of it takes long, but the machine may.
    verdict = judge(databases, prediction, timeout=3600, max_memory=4 << 20)
    assert (verdict.execution, verdict.state) == (False, state)
    assert detail in verdict.detail


def test_the_deadline_ends_a_query_whatever_its_steps(databases):
    verdict = judge(databases, ENDLESS, timeout=0.5, max_steps=10**15)
    assert (verdict.execution, verdict.state, verdict.detail) == (False, "timeout", "the deadline passed")


def test_the_budget_of_steps_ends_a_query_whatever_the_time(databases):
    verdict = judge(databases, ENDLESS, max_steps=1_000_000)
    assert (verdict.execution, verdict.state, verdict.detail) == (False, "timeout", "the budget of steps ran out")


def test_empty_results_earn_credit_only_where_asked(databases):
    never, seldom = "SELECT a FROM t WHERE a > 9", "SELECT a FROM t WHERE a = 3"
    assert judge(databases, "SELECT 1 WHERE 0", never).execution is True
    strict = judge(databases, "SELECT 1 WHERE 0", never, credit_empty=False)
    assert (strict.execution, strict.state) == (False, "scored")
    assert "earns no credit" in strict.detail
    assert judge(databases, "SELECT max(a) FROM t HAVING max(a) = 3", seldom, credit_empty=False).execution is True


@pytest.mark.parametrize(
    ("prediction", "settings", "stage"),
    [
        (None, {}, "nothing"),
        ("SELEC a FROM t", {}, "nothing"),
        ("-- SELECT a FROM t", {}, "nothing"),
        ("SELECT a FROM t WHERE b = 'r1", {}, "nothing"),
        ("SELECT '\udcff'", {}, "nothing"),
        ("DELETE FROM t", {}, "nothing"),
        (f"SELECT '{'x' * 50_000}'", {}, "nothing"),
        ("SELECT price FROM t", {}, "parses"),
        ("SELECT a FROM u", {}, "parses"),
        ("SELECT year(a) FROM t", {}, "parses"),
        ("SELECT abs(-9223372036854775807 - a) FROM t", {}, "compiles"),
        (ENDLESS, {}, "compiles"),
        ("SELECT a, b FROM t", {}, "runs"),
        ("SELECT a, b FROM t", {"run_to_end": True}, "runs"),
        (ENDLESS.replace("count(*)", "x, x"), {}, "runs"),
        (ENDLESS.replace("count(*)", "x, x"), {"run_to_end": True}, "compiles"),
        (ENDLESS.replace("count(*)", "x"), {}, "right_width"),
        (ENDLESS.replace("count(*)", "x"), {"run_to_end": True}, "compiles"),
        ("SELECT -a FROM t", {}, "right_width"),
        ("SELECT -a FROM t WHERE b = trim(b)", {"run_to_end": True}, "right_width"),
        ("SELECT a FROM t UNION ALL SELECT 4", {"run_to_end": True}, "right_width"),
        ("SELECT a FROM t WHERE a < 3", {}, "right_width"),
        ("SELECT a FROM t ORDER BY b", {}, "right_result"),
    ],
)
def test_the_stage_tells_how_far_a_prediction_came(databases, prediction, settings, stage):
    verdict = judge(databases, prediction, max_steps=100_000, **settings)
    assert verdict.stage == stage
    assert verdict.execution is (stage == "right_result")


def test_there_is_a_stage_only_where_execution_is_judged(databases):
    assert judge(databases, "SELECT 1", "SELECT price FROM t").stage is None
    (verdict,) = Scorer(databases).score(["SELECT a FROM t"], ["SELECT price FROM t"], ["shop"], "match")
    assert (verdict.execution, verdict.stage) == (None, None)
    empty = judge(databases, "SELECT 1 WHERE 0", "SELECT a FROM t WHERE a > 9", credit_empty=False)
    assert (empty.execution, empty.stage) == (False, "right_result")


def test_variants_can_be_left_out(databases):
    lucky = "SELECT a FROM t UNION ALL SELECT 3 WHERE (SELECT count(*) FROM t) < 3"
    assert judge(databases, lucky).execution is False
    verdict = judge(databases, lucky, variants=False)
    assert (verdict.execution, verdict.databases) == (True, 1)


@pytest.mark.parametrize("gold", ["SELECT price FROM t", ENDLESS, "DROP TABLE t"])
def test_a_gold_that_fails_makes_no_verdict(databases, gold):
    verdict = judge(databases, "SELECT 1", gold, timeout=0.5)
    assert (verdict.execution, verdict.state, verdict.failed_on) == (None, "gold_error", "shop.sqlite")
    assert verdict.detail.startswith("gold: ")


@pytest.mark.parametrize("settings", [{}, {"plug_value": True}, {"credit_empty": False}, {"run_to_end": True}])
@pytest.mark.parametrize(
    "gold",
    ["", " \n", ";", " ; ", ";;", "-- to be done", "/* SELECT a FROM t", "/* a */ -- b\n;", "\ufeff", "\ufeff;\n"],
)
def test_a_gold_without_a_statement_makes_no_verdict(databases, gold, settings, tmp_path):
    """Neither with a cache nor from it, and whatever the prediction is: rows, no rows, or the same text."""
    for _ in range(2):
        scorer = Scorer(databases, cache_dir=tmp_path / "cache", **settings)
        predictions = ["SELECT a FROM t", "SELECT a FROM t WHERE 0", gold]
        verdicts = scorer.score([gold] * 3, predictions, ["shop"] * 3)
        assert {(verdict.execution, verdict.stage, verdict.state) for verdict in verdicts} == {
            (None, None, "gold_error")
        }
        assert {verdict.failed_on for verdict in verdicts} == {"shop.sqlite"}
        with pytest.raises(QsqlError, match=r"item 0 \(database `shop`\) cannot be scored, gold: "):
            scorer.execution([gold], ["SELECT 1"], ["shop"])
    assert qsql.score(gold, "SELECT 1 WHERE 0", databases / "shop").state == "gold_error"


def test_a_prediction_without_a_statement_is_one_without_rows(databases):
    """As officially; where golds return nothing, `credit_empty` is for those who do not want that."""
    assert judge(databases, "-- nothing", "SELECT a FROM t WHERE a > 9").execution is True
    assert judge(databases, "-- nothing").execution is False


def test_a_database_that_is_none_concerns_its_items_only(databases):
    (databases / "other").mkdir()
    (databases / "other" / "other.sqlite").write_text("This is not SQLite. " * 100)
    golds = ["SELECT a FROM t"] * 2
    whole, broken = Scorer(databases).score(golds, ["SELECT a FROM t ORDER BY a"] * 2, ["shop", "other"])
    assert (broken.execution, broken.state, broken.failed_on) == (None, "gold_error", "other.sqlite")
    assert "not a database" in broken.detail
    assert whole.execution is True


def test_a_variant_that_is_no_database_is_left_out(databases):
    variant = databases / "shop" / "shopv1.sqlite"
    variant.write_text("This is not SQLite. " * 100)
    scorer = Scorer(databases)
    (verdict,) = scorer.score(["SELECT a FROM t"], ["SELECT a FROM t ORDER BY a"], ["shop"])
    assert (verdict.execution, verdict.databases) == (True, 2)
    assert scorer.left_out("shop") == [(variant, "no SQLite database")]


def test_databases_stay_as_they_are(databases):
    def snapshot():
        return {
            str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in databases.rglob("*")
            if path.is_file()
        }

    before = snapshot()
    writes = ["DROP TABLE t", "DELETE FROM t", "WITH x AS (SELECT 1) DELETE FROM t", "VACUUM", "REINDEX", "ANALYZE"]
    writes += ["ATTACH 'x.sqlite' AS x", f"VACUUM INTO '{databases}/x.sqlite'", "CREATE TEMP TABLE x (a)", "BEGIN"]
    for keep_distinct in (False, True):
        scorer = Scorer(databases, keep_distinct=keep_distinct)
        verdicts = scorer.score(["SELECT a FROM t WHERE 0"] * len(writes), writes, ["shop"] * len(writes))
        assert {(verdict.execution, verdict.state) for verdict in verdicts} == {(False, "forbidden")}
    assert snapshot() == before


def test_order_of_items_is_kept_whatever_the_threads(databases):
    predictions = [f"SELECT a FROM t WHERE a < {number}" for number in range(100)]
    golds, db_ids = ["SELECT a FROM t WHERE a < 3"] * 100, ["shop"] * 100
    runs = [Scorer(databases, threads=threads).score(golds, predictions, db_ids) for threads in (1, 2, 8)]
    assert len({tuple(map(repr, run)) for run in runs}) == 1
    assert [verdict.execution for verdict in runs[0]] == [number == 3 for number in range(100)]


def test_execution_is_a_bool_array(databases):
    found = Scorer(databases).execution(["SELECT a FROM t"] * 3, ["SELECT a FROM t", None, "x"], ["shop"] * 3)
    assert found.dtype == np.bool_
    assert found.tolist() == [True, False, False]


def test_execution_refuses_a_gold_that_fails(databases):
    with pytest.raises(QsqlError, match=r"item 1 \(database `shop`\) cannot be scored, gold: no such table: u"):
        Scorer(databases).execution(["SELECT 1", "SELECT a FROM u"], ["SELECT 1"] * 2, ["shop"] * 2)


def test_score_takes_a_file_or_a_folder(databases):
    wrong_on_v0 = "SELECT a FROM t WHERE a <> 2"
    gold = "SELECT a FROM t WHERE a IN (1, 3)"
    assert qsql.score(gold, wrong_on_v0, databases / "shop" / "shop.sqlite").databases == 1
    assert qsql.score(gold, wrong_on_v0, databases / "shop").databases == 3
    with pytest.raises(QsqlError, match=r"cannot read .*absent"):
        qsql.score(gold, gold, databases / "absent.sqlite")
    with pytest.raises(QsqlError, match="not found"):
        qsql.score(gold, gold, databases)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["SELECT 1"], [], ["shop"]), "1 golds, 0 predictions and 1 database names"),
        ((["SELECT 1"], ["SELECT 1"], ["../shop"]), "`../shop` is not a database name"),
    ],
)
def test_wrong_arguments_are_errors(databases, arguments, message):
    with pytest.raises(QsqlError, match=message):
        Scorer(databases).score(*arguments)


BOUNDS = [
    ({"threads": 0}, "`threads` is 0\nhint: give 1 to 1024"),
    ({"threads": -1}, "`threads` is -1\nhint: give 1 to 1024"),
    ({"threads": 5000}, "`threads` is 5000\nhint: give 1 to 1024"),
    ({"threads": 10**30}, "`threads` is beyond all bounds\nhint: give 1 to 1024"),
    ({"threads": -(10**5000)}, "`threads` is below all bounds\nhint: give 1 to 1024"),
    ({"timeout": 0}, "`timeout` is 0.0\nhint: give a number of seconds above 0"),
    ({"timeout": -1}, "`timeout` is -1.0\nhint: "),
    ({"timeout": float("nan")}, "`timeout` is NaN\nhint: "),
    ({"timeout": float("inf")}, "`timeout` is inf\nhint: give a number of seconds above 0, at most 1000000000"),
    ({"timeout": 1e300}, "`timeout` is 1e300\nhint: "),
    ({"timeout": 1e-300}, "`timeout` is 1e-300\nhint: "),
    ({"timeout": 10**400}, "`timeout` is inf\nhint: "),
    ({"max_steps": 0}, "`max_steps` is 0\nhint: give 1 or more"),
    ({"max_steps": -(10**30)}, "`max_steps` is below all bounds\nhint: give 1 or more"),
    ({"max_memory": 0}, "`max_memory` is 0\nhint: give 1 or more"),
    ({"max_memory": -1}, "`max_memory` is -1\nhint: give 1 or more"),
]


@pytest.mark.parametrize(("settings", "message"), BOUNDS)
def test_settings_out_of_bounds_are_errors(databases, settings, message):
    database = databases / "shop" / "shop.sqlite"
    calls = [lambda: Scorer(databases, **settings)]
    if "threads" not in settings:
        calls.append(lambda: qsql.query(database, "SELECT 1", **settings))
    if "timeout" in settings:
        calls.append(lambda: qsql.score("SELECT 1", "SELECT 1", database, **settings))
    for call in calls:
        with pytest.raises(QsqlError, match=re.escape(message)):
            call()


def test_other_numbers_out_of_bounds_are_errors(databases):
    database = databases / "shop" / "shop.sqlite"
    for number in (-1, -(10**30)):
        with pytest.raises(QsqlError, match=r"`max_rows` is .*\nhint: give 0 or more"):
            qsql.query(database, "SELECT 1", max_rows=number)
        with pytest.raises(QsqlError, match=r"`values` is .*\nhint: give 0 or more"):
            qsql._core.describe(database, values=number)  # noqa: SLF001


def test_what_is_no_number_at_all_is_a_type_error(databases):
    for settings in ({"threads": "2"}, {"max_steps": 1.5}, {"timeout": "1"}, {"max_memory": None}):
        with pytest.raises(TypeError):
            Scorer(databases, **settings)


def test_the_largest_settings_are_taken(databases):
    scorer = Scorer(databases, threads=2, timeout=1e9, max_steps=10**30, max_memory=10**30)
    assert scorer.score(["SELECT 1"], ["SELECT 1"], ["shop"])[0].execution is True


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(QsqlError, match="absent` not found"):
        Scorer(tmp_path / "absent")


def test_no_items_are_no_verdicts(databases):
    assert Scorer(databases).score([], [], []) == []


def test_progress_is_reported_and_its_errors_come_through(databases):
    seen = []
    scorer = Scorer(databases, timeout=0.5)
    scorer.score(["SELECT 1"], [ENDLESS], ["shop"], progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert {total for _, total in seen} == {3}

    def fail(done, total):
        raise ValueError(f"{done} of {total}")

    with pytest.raises(ValueError, match="of 3"):
        scorer.score(["SELECT 1"], [ENDLESS], ["shop"], progress=fail)


def test_ctrl_c_stops_a_call(databases):
    code = f"""
import qsql
scorer = qsql.Scorer({str(databases)!r}, timeout=3600, max_steps=10**15)
queries = [{ENDLESS!r} + f" -- {{i}}" for i in range(50)]
scorer.score(["SELECT 1"] * 50, queries, ["shop"] * 50, progress=lambda *_: print("running", flush=True))
"""
    with started([sys.executable, "-c", code]) as process:
        assert process.stdout.readline() == "running\n"
        status, _, said = stop(process, signal.SIGINT)
    assert status != 0
    assert "KeyboardInterrupt" in said


def test_verdicts_are_values(databases):
    def judge(prediction):
        return Scorer(databases, threads=1).score(["SELECT a FROM t"], [prediction], ["shop"])[0]

    right, again, wrong = judge("SELECT a FROM t"), judge("SELECT a FROM t"), judge("SELECT b FROM t")
    assert right == again
    assert hash(right) == hash(again)
    assert right != wrong
    assert right != right.to_dict()
    with pytest.raises(AttributeError):
        right.execution = False
    with pytest.raises(AttributeError):
        right.other = 1
    properties = {name for name in dir(right) if not name.startswith("_")} - {"to_dict"}
    assert right.to_dict() == {name: getattr(right, name) for name in properties}
    assert json.loads(json.dumps(wrong.to_dict())) == wrong.to_dict()
