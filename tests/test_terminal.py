"""What a terminal shows while commands run, and that nothing of it is left when they end."""

from __future__ import annotations

import os
import re

import pytest
from processes import PATIENCE, qsql, started

from qsql import demo, results
from qsql.evaluate import Settings, evaluate

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals on Windows")

EXAMPLES = demo.FOLDER / "examples.json"
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
ERASES_A_LINE = "\x1b[2K"


def run_on_terminal(*arguments):
    """Run `qsql` with stderr on a terminal of 80 columns; returns its status, stdout and what the terminal got."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "xterm-256color"}
    with started(qsql(*arguments), stderr=theirs, env=environment) as child:
        os.close(theirs)
        shown = b""
        while piece := read_terminal(ours):
            shown += piece
        stdout, _ = child.communicate(timeout=PATIENCE)
    os.close(ours)
    return child.returncode, stdout, shown.decode()


def read_terminal(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux says that the other side is closed
        return b""


@pytest.fixture(scope="module")
def runs(demo_databases, tmp_path_factory):
    """Run directories of both sets of demo predictions."""
    folder = tmp_path_factory.mktemp("runs")
    for name, predictions in demo.PREDICTIONS.items():
        evaluate(Settings(EXAMPLES, predictions, demo_databases, demo.TABLES), folder / name)
    return [folder / name for name in demo.PREDICTIONS]


def test_scoring_shows_a_bar_that_goes_away(demo_databases, tmp_path):
    inputs = ["--gold", EXAMPLES, "--pred", demo.PREDICTIONS["strong"], "--db", demo_databases, "--table", demo.TABLES]
    status, stdout, shown = run_on_terminal("eval", *inputs, "--out", tmp_path / "run")
    assert status == 0
    assert "scoring" in CONTROLS.sub("", shown)
    assert "48/48" in shown
    assert shown.endswith(ERASES_A_LINE)
    assert stdout.startswith("difficulty")
    assert "scoring" not in stdout
    assert results.read_json(tmp_path / "run" / "summary.json")["all"]["count"] == 48


def test_generating_shows_the_step_and_its_progress(tmp_path):
    inputs = ["--data", EXAMPLES, "--tables", demo.TABLES, "--engine", "gold", "--out", tmp_path]
    status, _, shown = run_on_terminal("generate", *inputs)
    assert status == 0
    assert "generating" in CONTROLS.sub("", shown)
    assert "48/48" in shown
    assert "Traceback" not in shown


def test_a_page_of_a_comparison_shows_its_stages_and_is_written(runs, tmp_path):
    page = tmp_path / "page.html"
    status, stdout, shown = run_on_terminal("compare", *runs, "--html", page)
    assert (status, stdout) == (0, "")
    assert "examples" in CONTROLS.sub("", shown)
    assert f"written to `{page}`" in re.sub(r"\s*\n\s*", "", CONTROLS.sub("", shown))
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
