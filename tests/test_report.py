"""Reports, comparisons and explanations: the numbers are those of the run, and what is missing is said."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from qsql import QsqlError, demo, records, results
from qsql.evaluate import Settings, evaluate
from qsql.report.breakdown import by_database, by_feature
from qsql.report.explain import explain, why_not_exact
from qsql.report.pair import MOST_ROWS, ROWS, differences, results_on
from qsql.report.run import read_run
from qsql.report.tables import percent
from qsql.visible import literal, one_line, visible

EXAMPLES = demo.FOLDER / "examples.json"
RULES = {"keep_distinct": False, "timeout": 30.0, "max_steps": 1_000_000_000, "max_memory": 128 << 20}


@pytest.fixture(scope="module")
def runs(demo_databases, tmp_path_factory):
    """Run directories of both sets of demo predictions, by name."""
    folder = tmp_path_factory.mktemp("runs")
    for name, predictions in demo.PREDICTIONS.items():
        evaluate(Settings(EXAMPLES, predictions, demo_databases, demo.TABLES), folder / name)
    return {name: folder / name for name in demo.PREDICTIONS}


@pytest.fixture
def copied(runs, tmp_path):
    """A run directory to break."""
    return Path(shutil.copytree(runs["strong"], tmp_path / "strong"))


@pytest.fixture
def numbers(tmp_path):
    """A database with the numbers from 0 to 1,499 and their names."""
    path = tmp_path / "numbers.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE number (n INTEGER, name TEXT)")
        connection.executemany("INSERT INTO number VALUES (?, ?)", ((at, f"n{at}") for at in range(1500)))
    return path


def snapshot(text, name):
    """Compare a text with its snapshot, without what differs from run to run."""
    text = re.sub(r"^[\d,]+ queries on (.*) in [\d.]+ s .*$", r"N queries on \1", text, flags=re.MULTILINE)
    text = "".join(line.rstrip() + "\n" for line in text.splitlines())
    assert text == (Path(__file__).parent / "golden" / "snapshots" / name).read_text(encoding="utf-8")


def test_the_terminal_report_looks_like_this(run_qsql, runs):
    done = run_qsql("report", runs["strong"])
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    snapshot(done.stdout, "report.txt")


def test_the_report_has_the_numbers_of_the_summary(run_qsql, runs):
    text = run_qsql("report", runs["weak"]).stdout
    summary = results.read_json(runs["weak"] / "summary.json")
    for level in (*records.LEVELS, "all"):
        row = next(line for line in text.splitlines() if line.startswith(level + " "))
        totals = summary[level]
        shares = [percent(totals[metric]) for metric in ("exact", "execution")]
        assert row.split()[1:3] == [str(totals["count"]), shares[0]]
        assert row.split()[6] == shares[1]


def test_totals_of_groups_are_those_of_the_run(runs):
    run = read_run(runs["strong"])
    assert json.loads(json.dumps(results.level_summary([item.verdict for item in run.items]))) == run.summary["all"]
    databases = by_database(run)
    assert sum(totals["count"] for totals in databases.values()) == run.summary["all"]["count"]
    wrong = [round(totals["count"] * (1 - totals["execution"])) for totals in databases.values()]
    assert wrong == sorted(wrong, reverse=True)
    assert by_feature(run)["join"]["count"] == sum(" join " in item.gold.lower() for item in run.items)


def test_many_databases_are_cut_with_a_word(run_qsql, runs):
    text = run_qsql("report", runs["strong"], "--limit", 1).stdout
    assert "3 more with fewer mistakes; `--limit 4` shows all" in text


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (shutil.rmtree, "is no run directory: it has no `run.json`"),
        (lambda run: (run / "run.json").write_text('{"schema_version": 1}'), "nothing is scored in"),
        (lambda run: (run / "run.json").write_text("{}"), "is no record of a run by qsql"),
        (lambda run: (run / "run.json").write_text('{"evaluation": {}}'), "`evaluation.settings` is missing"),
        (lambda run: (run / "verdicts.jsonl.partial").touch(), "is not finished"),
        (lambda run: (run / "examples.jsonl").unlink(), "has no `examples.jsonl`"),
        (lambda run: (run / "verdicts.jsonl").write_text(""), "do not belong together: 0 verdicts"),
        (lambda run: (run / "verdicts.jsonl").write_text("{\n"), "line 1 is not JSON"),
        (lambda run: (run / "verdicts.jsonl").write_text("1\n"), "line 1: it is the number 1, not an object"),
        (lambda run: (run / "examples.jsonl").write_text('{"id": "0"}\n' * 48), "line 1: `db_id` is missing"),
    ],
)
def test_what_is_no_finished_run_is_refused_with_a_hint(run_qsql, copied, breakage, message):
    breakage(copied)
    done = run_qsql("report", copied)
    assert (done.returncode, done.stdout) == (1, "")
    error, hint = done.stderr.splitlines()
    assert message in error
    assert hint.startswith("hint: ")


def test_examples_of_another_order_are_noticed(copied):
    lines = (copied / "examples.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (copied / "examples.jsonl").write_text("".join([lines[1], lines[0], *lines[2:]]), encoding="utf-8")
    with pytest.raises(QsqlError, match=r"line 1 is of example `1`, that of `verdicts.jsonl` of `0`"):
        read_run(copied)


def test_bytes_that_are_not_utf_8_are_kept_and_shown(demo_databases, tmp_path):
    gold, predictions = tmp_path / "gold.sql", tmp_path / "pred.sql"
    gold.write_text("SELECT 1\tseed_bank\n", encoding="utf-8")
    predictions.write_bytes(b"SELECT '\xff'\n")
    evaluate(Settings(gold, predictions, demo_databases), tmp_path / "run")
    (item,) = read_run(tmp_path / "run").items
    assert visible(item.prediction) == "SELECT '\\xff'"
    assert item.question is None


@pytest.mark.parametrize(
    ("gold", "prediction", "own"),
    [
        ("SELECT a FROM t", "select  A from T", ([], [])),
        ("SELECT a, b FROM t", "SELECT a FROM t", ([", b"], [])),
        ("SELECT a FROM t", "SELECT b FROM t WHERE a = 1", (["a"], ["b", "WHERE a = 1"])),
        ("SELECT 'a'", "SELECT 'A'", (["'a'"], ["'A'"])),
        ("SELECT 1", "x" * 20, (["SELECT 1"], ["x" * 20])),
    ],
)
def test_the_difference_of_queries_is_what_it_is(gold, prediction, own):
    pieces = differences(gold, prediction)
    assert tuple("".join(side) for side in pieces) == (gold, prediction)
    assert tuple(side[1::2] for side in pieces) == own


def test_long_text_is_not_compared_word_by_word():
    for gold, prediction in (("a b " * 500, "a c " * 500), ("a" * 60_000, "b" * 60_000)):
        assert differences(gold, prediction) == (["", gold], ["", prediction])


def test_results_are_those_that_scoring_compares(numbers):
    found = results_on(numbers, "SELECT 1; SELECT 2", "SELECT DISTINCT n / 1000 FROM number", RULES)
    assert (found.gold.rows, found.prediction.count) == ([["1"]], MOST_ROWS)
    kept = results_on(numbers, "SELECT 1", "SELECT DISTINCT n / 1000 FROM number", RULES | {"keep_distinct": True})
    assert (kept.prediction.rows, kept.prediction.own) == ([["0"], ["1"]], [True, False])
    assert results_on(numbers, "SELECT 1", "SELECT value", RULES).prediction.rows == [["1"]]


def test_results_are_cut_to_where_they_begin_to_differ(numbers):
    changed = "SELECT CASE n WHEN 500 THEN -1 ELSE n END FROM number"
    found = results_on(numbers, "SELECT n FROM number", changed, RULES)
    assert (found.gold.first, found.gold.count, found.gold.is_whole) == (498, MOST_ROWS, False)
    assert [row for row, own in zip(found.prediction.rows, found.prediction.own, strict=True) if own] == [["-1"]]
    assert len(found.gold.rows) == ROWS
    moved = results_on(numbers, "SELECT n FROM number", "SELECT n FROM number ORDER BY n = 300, n", RULES)
    assert (moved.gold.first, moved.are_reordered) == (298, False)


def test_the_same_rows_in_another_order_are_said_to_be(run_qsql, numbers):
    pair = ["--gold", "SELECT n FROM number ORDER BY n LIMIT 3", "--pred", "SELECT 2 - n FROM number LIMIT 3"]
    text = run_qsql("explain", *pair, "--db", numbers).stdout
    assert "the same rows in another order" in text
    found = results_on(numbers, "SELECT 1", "SELECT 1", RULES)
    assert not found.are_reordered


def test_the_terminal_takes_cells_for_text(run_qsql, numbers):
    pair = ["--gold", "SELECT '[bold]a[/bold] :smile:', '\x1b[31m'", "--pred", "SELECT 1 AS '[red]'"]
    text = run_qsql("explain", *pair, "--db", numbers).stdout
    assert "'[bold]a[/bold] :smile:'" in text
    assert "'\\x1b[31m'" in text
    assert "[red]" in text
    assert "\x1b" not in text


def test_wide_results_stand_below_each_other(run_qsql, numbers):
    pair = ["--gold", f"SELECT {', '.join('name' for _ in range(14))} FROM number", "--pred", "SELECT 1"]
    lines = run_qsql("explain", *pair, "--db", numbers).stdout.splitlines()
    assert lines.index("the gold returns") + 1 < lines.index("the prediction returns")
    assert "2 columns are not shown" in "\n".join(lines)
    assert max(map(len, lines)) <= 80


def test_equal_rows_are_counted(numbers):
    found = results_on(numbers, "SELECT 1 UNION ALL SELECT 1", "SELECT 1", RULES)
    assert (found.gold.own, found.prediction.own) == ([False, True], [False])


def test_a_query_that_fails_has_its_message(numbers):
    found = results_on(numbers, "SELECT 1", "SELECT absent", RULES)
    assert (found.prediction.state, found.prediction.detail) == ("sql_error", "no such column: absent")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        ("NULL", "'NULL'"),
        (1, "1"),
        (1.0, "1.0"),
        ("it's\n", "'it''s\\n'"),
        (b"\x00\xff", "x'00ff'"),
        ("a" * 130, f"'{'a' * 120}' and 10 characters more"),
        (b"\x01" * 70, f"x'{'01' * 60}' and 10 bytes more"),
        (float("inf"), "inf"),
    ],
)
def test_cells_are_written_as_literals(value, text):
    assert literal(value) == text


def test_characters_that_do_things_are_seen():
    assert visible("a\x1b[31m\x00\u202eb\udc80\tc\r\n") == "a\\x1b[31m\\x00\\u202eb\\x80\tc\n"
    assert one_line(" a \n b ", 80) == "a b"
    assert one_line("abcdefgh", 6) == "abc..."


def test_an_explanation_says_all_that_there_is_to_say(run_qsql, demo_databases):
    pair = ["--gold", "SELECT full_name FROM collectors WHERE joined_year > 2005"]
    pair += ["--pred", "SELECT c.full_name AS n FROM collectors c"]
    done = run_qsql("explain", *pair, "--db", demo_databases / "seed_bank")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    snapshot(done.stdout, "explain.txt")


def test_the_smallest_database_that_tells_them_apart_is_shown(tmp_path):
    folder = tmp_path / "t"
    folder.mkdir()
    for name, rows in (("t", [1]), ("tv0", range(5000)), ("tv1", [1, 2])):
        with closing(sqlite3.connect(folder / f"{name}.sqlite")) as connection, connection:
            connection.execute("CREATE TABLE t (a INTEGER)")
            connection.executemany("INSERT INTO t VALUES (?)", ((row,) for row in rows))
    found = explain("SELECT a FROM t", "SELECT max(a) FROM t", folder)
    assert (found.verdict.failed_on, found.distinguishing) == ("tv0.sqlite", 2)
    assert found.results.file == "tv1.sqlite"
    assert (found.results.gold.rows, found.results.prediction.rows) == ([["1"], ["2"]], [["2"]])
    assert explain("SELECT a FROM t", "SELECT a FROM t", folder).results is None


def test_an_explanation_points_at_what_the_grammar_rejects(numbers):
    found = explain("SELECT name FROM number", "SELECT name AS n FROM number", numbers)
    line, text, caret = why_not_exact(found)
    assert line.startswith("Spider's grammar rejects the prediction: column alias is not in the grammar")
    assert text[caret.index("^")] == "A"
    assert found.canonical[0] == found.canonical[1] == "SELECT name FROM number"


@pytest.mark.parametrize(
    ("gold", "prediction", "reasons"),
    [
        ("SELECT name FROM number", "SELECT name FROM number", []),
        (
            "SELECT name FROM number WHERE n > 1",
            "SELECT name FROM number",
            ["where: 1 in the gold, 0 in the prediction"],
        ),
        ("SELECT 1 + 1", "SELECT 2", ["Spider's grammar rejects the gold"]),
    ],
)
def test_an_explanation_names_the_components_that_differ(numbers, gold, prediction, reasons):
    found = why_not_exact(explain(gold, prediction, numbers))
    assert len(found) >= len(reasons)
    assert all(line.startswith(reason) for line, reason in zip(found, reasons, strict=False))
    assert bool(found) == bool(reasons)


def test_an_absent_database_is_an_error_of_explain(run_qsql, tmp_path):
    done = run_qsql("explain", "--gold", "SELECT 1", "--pred", "SELECT 1", "--db", tmp_path / "absent.sqlite")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("hint: ")


@pytest.mark.parametrize("command", ["report", "compare", "explain", "card"])
def test_help_fits_80_columns(run_qsql, command):
    done = run_qsql(command, "--help")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
