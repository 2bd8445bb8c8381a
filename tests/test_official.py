"""`python -m qsql.official` in the place of the official `evaluation.py`: printing, exit status, options.

`golden/official/*.txt` is what that prints (taoyds/test-suite-sql-eval at e97acc5, Python 3.11, sqlparse 0.6.1) on the
demo databases; `interactions.sql` and its golds have twelve interactions, of no turns up to seven.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE

from qsql import demo

FROZEN = Path(__file__).parent / "golden" / "official"
INPUTS = {
    **{name: (demo.GOLD, predictions) for name, predictions in demo.PREDICTIONS.items()},
    "interactions": (FROZEN / "interactions_gold.txt", FROZEN / "interactions.sql"),
}


@pytest.fixture
def official():
    """Run `python -m qsql.official`; returns the finished process, its output in bytes."""

    def run(*arguments, **options):
        command = [sys.executable, "-m", "qsql.official", *map(str, arguments)]
        environment = {**os.environ, **options.pop("env", {})}
        return subprocess.run(command, capture_output=True, env=environment, check=False, timeout=PATIENCE, **options)

    return run


@pytest.fixture
def demo_run(official, demo_databases):
    """The same on the demo databases."""

    def run(gold, pred, *arguments, **options):
        inputs = ["--gold", gold, "--pred", pred, "--db", demo_databases, "--table", demo.TABLES]
        return official(*inputs, *arguments, **options)

    return run


@pytest.mark.parametrize("path", sorted(FROZEN.glob("*.*.txt")), ids=lambda path: path.stem)
def test_the_output_is_the_official_one_byte_for_byte(demo_run, path):
    name, etype = path.stem.split(".")
    done = demo_run(*INPUTS[name], "--etype", etype)
    assert done.stdout.replace(os.linesep.encode(), b"\n") == path.read_bytes()
    assert (done.returncode, done.stderr) == (0, b"")


def test_there_are_frozen_outputs_of_every_kind():
    names = {tuple(path.stem.split(".")) for path in FROZEN.glob("*.*.txt")}
    assert {etype for _, etype in names} == {"all", "exec", "match"}
    assert b"Evaluating 10th prediction" in (FROZEN / "interactions.all.txt").read_bytes()


def test_execution_is_measured_by_default_and_needs_no_tables(official, demo_databases, demo_run):
    gold, pred = INPUTS["strong"]
    done = official("--gold", gold, "--pred", pred, "--db", demo_databases)
    assert done.stdout == demo_run(gold, pred, "--etype", "exec").stdout
    # Nor is a file opened that is not needed, as officially.
    assert demo_run(gold, pred, "--table", "absent.json").stdout == done.stdout


def test_all_official_options_are_taken_and_may_be_abbreviated(demo_run):
    done = demo_run(*INPUTS["weak"], "--plug", "--keep_distinct", "--progress_bar_for_each_datapoint")
    assert done.returncode == 0
    assert b"execution" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "`--etype exec` needs `--gold`"),
        (["--gold", "g", "--pred", "p", "--db", "d", "--etype", "match"], "`--etype match` needs `--table`"),
        (["--gold", "absent", "--pred", "p", "--db", "d"], "cannot read `absent`: No such file or directory"),
    ],
)
def test_inputs_that_cannot_be_used_are_status_1(official, tmp_path, arguments, message):
    done = official(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    error, hint = done.stderr.decode().splitlines()
    assert error == f"error: {message}"
    assert hint.startswith("hint: ")


def test_wrong_usage_is_status_2(official):
    done = official("--etype", "some")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"invalid choice: 'some'" in done.stderr


def test_a_gold_that_fails_is_status_1_after_everything_is_printed(demo_run, tmp_path):
    gold = tmp_path / "gold.sql"
    gold.write_text("SELECT 1 FROM nowhere\tseed_bank\n" + demo.GOLD.read_text(encoding="utf-8"), encoding="utf-8")
    done = demo_run(gold, INPUTS["strong"][1])
    assert done.returncode == 1
    assert done.stdout.startswith(b" " * 21 + b"easy")
    assert b"line 1: the gold fails on seed_bank.sqlite: no such table: nowhere" in done.stderr


def test_what_the_output_cannot_encode_is_written_out(demo_run, tmp_path):
    pred = tmp_path / "pred.sql"
    pred.write_bytes(b"SELECT \xff\nSELECT '\xc3\xa9\xe2\x80\xa8'\n")
    done = demo_run(INPUTS["strong"][0], pred, "--etype", "match", env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if b" pred: " in line][:2] == [
        rb"easy pred: SELECT \udcff",
        rb"easy pred: SELECT '\xe9\u2028'",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="closed pipes are no BrokenPipeError there")
def test_a_reader_who_has_seen_enough_is_no_traceback(demo_databases):
    gold, pred = INPUTS["strong"]
    command = [sys.executable, "-m", "qsql.official", "--gold", gold, "--pred", pred, "--db", demo_databases]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        list(map(str, command)), stdout=write, stderr=subprocess.PIPE, check=False, timeout=PATIENCE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
