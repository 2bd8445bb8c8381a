"""Text from outside on its way to a terminal: it is made visible in one place, cut, and is never markup."""

from __future__ import annotations

import ast
import csv
import io
import json
import sqlite3
import unicodedata
from contextlib import closing
from pathlib import Path

import pytest
from chat_server import answers
from rich.table import Table
from rich.text import Text

import qsql
from qsql.cli import terminal
from qsql.visible import LONGEST_CELL

PACKAGE = Path(qsql.__file__).parent
HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b2J\x08\x7f \u202eback\u2066 [bold]x[/bold] [link=file:///x]y[/link] :smile:"
SQL_NAME = '"' + HOSTILE + '"'


def assert_visible(*texts):
    """Nothing in a text drives a terminal or hides."""
    for text in texts:
        unseen = {
            letter for letter in text if unicodedata.category(letter) in {"Cc", "Cf", "Cs"} and letter not in "\n\t"
        }
        assert not unseen, ascii(text)


def run(run_qsql, *arguments, **options):
    done = run_qsql(*arguments, **options)
    assert "Traceback" not in done.stderr
    assert_visible(done.stdout, done.stderr)
    return done


@pytest.fixture
def database(tmp_path):
    """A database whose table, column and cells are hostile, in a folder of databases with such a name."""
    folder = tmp_path / "databases" / HOSTILE.replace("/", "_")
    folder.mkdir(parents=True)
    file = folder / f"{folder.name}.sqlite"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(f"CREATE TABLE t ({SQL_NAME} TEXT, long TEXT, bytes BLOB)")
        connection.execute("INSERT INTO t VALUES (?, ?, ?)", (HOSTILE, "x" * (1 << 20), bytes(1 << 20)))
    return file


def ask(run_qsql, database, sql, *more):
    """Ask for a query that is given. In a pipe it comes as it is, on the first line; the rest is for people."""
    with answers([sql]) as url:
        options = ["--engine", "openai", "--model", "m", "--base-url", url, *more]
        done = run_qsql("ask", "What?", "--db", database, *options)
    query, _, done.stdout = done.stdout.partition("\n")
    assert query == sql
    assert_visible(done.stdout, done.stderr)
    return done


def test_only_one_module_writes_to_the_terminal():
    for file in PACKAGE.rglob("*.py"):
        if file == PACKAGE / "cli" / "terminal.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "rich.console":
                names = {alias.name for alias in node.names}
                assert "Console" not in names or "TYPE_CHECKING" in file.read_text(), file
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in {"print", "typer.echo", "typer.secho", "sys.stderr.write", "Console"}, (
                f"{file}: {called}"
            )
            # The official output is written byte for byte.
            assert called != "sys.stdout.write" or file.name == "official.py", file


def test_names_and_cells_of_an_answer(run_qsql, database):
    done = ask(run_qsql, database, f"SELECT {SQL_NAME}, 1 AS {SQL_NAME} FROM t", "--run")
    assert done.returncode == 0
    shown = "".join(done.stdout.split())
    assert r"\x1b[31mred\x1b]0;title\x07" in shown
    assert "[bold]x[/bold][link=file:///x]y[/link]:smile:" in shown


@pytest.mark.parametrize(
    "sql", ["SELECT long FROM t", "SELECT bytes FROM t", "SELECT long AS a, long AS b, bytes FROM t"]
)
def test_a_cell_of_a_megabyte_is_cut(run_qsql, database, sql):
    done = ask(run_qsql, database, sql, "--run")
    assert done.returncode == 0
    assert len(done.stdout) < 5000
    if "long" in sql:
        assert "1,048,456morecharacters" in "".join(done.stdout.split())


def test_an_answer_of_many_columns_and_long_names_is_cut(run_qsql, database):
    names = ", ".join(f"{number} AS c{number}" for number in range(200))
    done = ask(run_qsql, database, f"SELECT {names}", "--run")
    assert "150 more columns not shown" in done.stderr
    assert "c199" not in done.stdout
    done = ask(run_qsql, database, f"SELECT 1 AS {'x' * 20_000}", "--run")
    assert len(done.stdout) < 2000


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "NULL"), (1, "1"), (1.5, "1.5"), ("", ""), ("a\tb\nc", "a\tb\nc"), ("\x1b", "\\x1b"), (b"\x00", "x'00'"),
        (b"a" * 33, f"x'{'61' * 32}...'"), ("x" * LONGEST_CELL, "x" * LONGEST_CELL),
        ("x" * (LONGEST_CELL + 1), "x" * LONGEST_CELL + " and 1 more character"),
    ],
)  # fmt: skip
def test_cells(value, shown):
    assert terminal.cell(value) == shown


def test_a_query_that_is_not_understood(run_qsql, database):
    done = ask(run_qsql, database, f"SELECT {SQL_NAME.replace('red', 'green')} FROM t, nothing")
    assert done.returncode == 1
    assert "error: " in done.stderr


def test_headers_of_a_source(run_qsql, tmp_path):
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[HOSTILE, "query"], ["a", "b"]])
    done = run(run_qsql, "data", "prepare", tmp_path / "rows.csv", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "its columns are \\x1b[31mred" in done.stderr


@pytest.mark.parametrize(
    "text", ['"question": 1', HOSTILE, "[" + json.dumps({HOSTILE: 1}) + "]", "[[]]", '[{"question": []}]']
)
def test_what_a_source_holds(run_qsql, tmp_path, text):
    name = "a\x1b[31m\u202eb.json"
    (tmp_path / name).write_text(text, encoding="utf-8")
    done = run(run_qsql, "data", "prepare", tmp_path / name, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "\\x1b[31m\\u202eb.json" in done.stderr


def test_names_of_databases_and_golds(run_qsql, database, tmp_path):
    (tmp_path / "gold.json").write_text(
        json.dumps([{"query": f"SELECT {SQL_NAME} FROM u", "db_id": database.stem}] * 2)
    )
    (tmp_path / "pred.sql").write_text(f"SELECT {SQL_NAME}\nSELECT 1\n")
    paths = ["--gold", tmp_path / "gold.json", "--pred", tmp_path / "pred.sql", "--db", database.parent.parent]
    done = run(run_qsql, "eval", *paths, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "the gold fails on \\x1b[31mred" in done.stderr
    assert run(run_qsql, "report", tmp_path / "run").returncode == 0
    (tmp_path / "gold.json").write_text(json.dumps([{"query": "SELECT 1", "db_id": database.stem, "id": HOSTILE}]))
    assert run(run_qsql, "eval", *paths, "--out", tmp_path / "one").returncode == 0
    (tmp_path / "pred.sql").write_text("SELECT 1\n")
    assert run(run_qsql, "eval", *paths, "--out", tmp_path / "two").returncode == 0
    assert r"\x1b[31mred" in run(run_qsql, "compare", tmp_path / "one", tmp_path / "two").stdout
    (tmp_path / "gold.json").write_text(json.dumps([{"query": "SELECT 1", "db_id": database.stem}]))
    done = run(run_qsql, "eval", "--gold", tmp_path / "gold.json", "--pred", tmp_path / "pred.sql", "--db", tmp_path)
    assert done.returncode == 1
    assert "database `\\x1b[31mred" in done.stderr
    texts = ["--gold", f"SELECT {SQL_NAME} FROM t", "--pred", f"SELECT {SQL_NAME}, 1 FROM t"]
    assert run(run_qsql, "explain", *texts, "--db", database).returncode == 0


def test_a_prepared_data_set_that_others_made(run_qsql, tmp_path):
    row = {"question": "How many?", "query": "SELECT count(*) FROM t", "schema": "CREATE TABLE t (a)"}
    (tmp_path / "rows.json").write_text(json.dumps([row, row]))
    out = tmp_path / "out"
    assert run(run_qsql, "data", "prepare", tmp_path / "rows.json", "--validation", "0", "--out", out).returncode == 0
    report = json.loads((out / "report.json").read_text())
    report["outputs"] = {}
    stage = report["stages"][0]
    report["dropped_examples"] = {HOSTILE: {"reasons": {HOSTILE: 1}, "examples": []}}
    stage["stage"] = HOSTILE
    report["statistics"]["hardness"] = {HOSTILE: 1}
    (out / "report.json").write_text(json.dumps(report))
    dropped = {
        "stage": "empty",
        "reason": HOSTILE,
        "detail": HOSTILE,
        "source": HOSTILE,
        "position": 1,
        "db_id": HOSTILE,
    }
    (out / "dropped.jsonl").write_text(json.dumps({**dropped, "question": HOSTILE, "query": HOSTILE}) + "\n")
    example = {"id": HOSTILE, "db_id": HOSTILE, "instruction": HOSTILE, "output": HOSTILE}
    (out / "train.json").write_text(json.dumps([example]))
    for more in ([], ["--dropped", "empty"], ["--index", "0"]):
        done = run(run_qsql, "data", "show", out, *more)
        assert done.returncode == 0
        assert r"\x1b[31mred" in "".join(done.stdout.split())


@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE],
        ["eval", f"--{HOSTILE}"],
        ["eval", HOSTILE, HOSTILE],
        ["report", "--limit", HOSTILE, "x"],
        ["data", HOSTILE],
    ],
)
def test_wrong_usage(run_qsql, arguments):
    done = run(run_qsql, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Usage: " in done.stderr


def test_a_message_is_cut_and_keeps_its_hint(capsys):
    terminal.note(f"error: {'x' * 100_000}\nhint: {HOSTILE}")
    message = capsys.readouterr().err
    assert len(message) < 7000
    assert " and 95,007 more characters\nhint: \\x1b[31m" in message
    assert_visible(message)


def test_a_table_makes_room_for_what_is_written_out():
    output = io.StringIO()
    console = terminal.console()
    console.file, console.width = output, 60
    table = Table("name", "number")
    table.add_row("\x1b[31m" * 3, "7")
    table.add_row(Text("\x07"), "[bold]8[/bold]")
    console.print(table)
    console.print("plain :smile: [red]x[/red] \x1b", Text.assemble(("b\x9bc", "bold")))
    assert_visible(output.getvalue())
    assert r"\x1b[31m\x1b[31m\x1b[31m" in output.getvalue()
    assert r"plain :smile: [red]x[/red] \x1b b\x9bc" in output.getvalue()
    assert len({len(line) for line in output.getvalue().splitlines()[:4]}) == 1


def test_styles_of_ours_stay():
    output = io.StringIO()
    console = terminal.console()
    console.file, console._force_terminal, console._color_system = output, True, None  # noqa: SLF001
    console.print(Text.assemble(("bold", "bold"), " \x1b[31m"))
    assert "\\x1b[31m" in output.getvalue()


def test_json_is_as_it_is(run_qsql, database, tmp_path):
    (tmp_path / "gold.json").write_text(json.dumps([{"query": "SELECT 1", "db_id": database.stem}]))
    (tmp_path / "pred.sql").write_text("SELECT 1\n")
    done = run_qsql(
        "eval",
        "--gold",
        tmp_path / "gold.json",
        "--pred",
        tmp_path / "pred.sql",
        "--db",
        database.parent.parent,
        "--format",
        "json",
    )
    assert json.loads(done.stdout)["all"]["count"] == 1


class Terminal(io.StringIO):
    """Takes the place of a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("bar", [terminal.stage_bar, lambda: terminal.progress_bar("scoring")])
def test_a_label_of_a_bar_is_no_markup(monkeypatch, bar):
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    label = "a[red]\x1b]0;title\x07\u202e.json"
    with bar() as update:
        if bar is terminal.stage_bar:
            update(label, 1, 2)
        else:
            update(1, 2, label, label)
    assert "\x1b]0;" not in shown.getvalue()
    assert "\u202e" not in shown.getvalue()
    assert r"a[red]\x1b]0;title\x07\u202e.json" in shown.getvalue()
