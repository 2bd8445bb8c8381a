"""Pipes, sockets, devices and folders in the place of files: refused at once, with what they are and what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import qsql
from qsql import QsqlError, Scorer, _core, demo
from qsql.config import load_config
from qsql.data import read_examples, read_predictions
from qsql.evaluate import Settings, evaluate
from qsql.generate.questions import read_questions
from qsql.prepare.sources import SourceOptions, read_records, read_source
from qsql.results import sha256, write_json
from qsql.rewards import ExecutionReward
from qsql.schema_text import tables_of_database
from qsql.training_log import read_log

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")

QUERY = "SELECT count(*) FROM species"


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    # Its name may not be longer than some hundred characters, as that of a temporary folder may be.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


SPECIAL = {
    "a pipe": make_pipe,
    "a socket": make_socket,
    "a directory": Path.mkdir,
    "a device that never ends": lambda path: path.symlink_to("/dev/zero"),
    "a device that is always full": lambda path: path.symlink_to("/dev/full"),
    "a device that is empty": lambda path: path.symlink_to("/dev/null"),
}


@pytest.fixture(params=SPECIAL)
def special(request):
    """Make something that is no file at a path; returns what it is called."""
    make = SPECIAL[request.param]

    def at(path):
        path.unlink(missing_ok=True)
        make(path)
        return request.param.partition(" that")[0]

    return at


TEXT_READERS = {
    "gold.sql": read_examples,
    "gold.json": read_examples,
    "gold.jsonl": read_examples,
    "pred.sql": lambda path: read_predictions(path, []),
    "pred.jsonl": lambda path: read_predictions(path, []),
    "questions.json": read_questions,
    "questions.jsonl": read_questions,
    "tables.json": qsql.schema_text.read_spider_tables,
    "rows.json": lambda path: list(read_records(path)),
    "rows.csv": lambda path: list(read_records(path)),
    "rows.parquet": lambda path: list(read_records(path)),
    "config.yaml": lambda path: load_config(path, (), {}),
    "trainer_log.jsonl": read_log,
    "summary.json": qsql.results.read_json,
    "verdicts.jsonl": qsql.results.read_lines,
    "run.json": lambda path: qsql.results.run_record(path.parent),
    "gold.txt": sha256,
}


@pytest.mark.parametrize("name", TEXT_READERS)
def test_what_is_no_file_is_refused_as_text(tmp_path, special, name):
    kind = special(tmp_path / name)
    if name.startswith("questions") and kind == "a directory":
        pytest.skip("a folder of questions is a data set")
    with pytest.raises(QsqlError, match=f"{name}`: it is {kind}, not a file\nhint: "):
        TEXT_READERS[name](tmp_path / name)


DATABASE_READERS = {
    "query": lambda path: qsql.query(path, "SELECT 1"),
    "score": lambda path: qsql.score(QUERY, QUERY, path),
    "describe": _core.describe,
    "Schema.read": qsql.Schema.read,
    "tables_of_database": tables_of_database,
    "schemas of questions": lambda path: read_questions(path.parent / "questions.json"),
}


@pytest.mark.parametrize("name", DATABASE_READERS)
def test_what_is_no_file_is_refused_as_a_database(tmp_path, special, name):
    folder = tmp_path / "d"
    folder.mkdir()
    question = {"question": "How many?", "db": "d.sqlite"}
    (folder / "questions.json").write_text(json.dumps([question]), encoding="utf-8")
    kind = special(folder / "d.sqlite")
    with pytest.raises(QsqlError) as caught:
        DATABASE_READERS[name](folder / "d.sqlite")
    message = str(caught.value)
    # A folder may hold databases, where a file or a folder is asked for.
    assert f"it is {kind}, not a file" in message or (kind == "a directory" and "not found" in message)
    assert "\nhint: " in message


def test_its_items_alone_fail_where_several_are_scored(databases, special):
    victim = databases / "seed_bank" / "seed_bank.sqlite"
    kind = special(victim)
    golds, db_ids = [QUERY, "SELECT count(*) FROM astronomers"], ["seed_bank", "night_log"]
    scorer = Scorer(databases)
    for found in (scorer.score(golds, golds, db_ids), scorer.denotations(golds, db_ids)):
        assert [one.state for one in found] in (["gold_error", "scored"], ["database_error", "ran"])
        assert f"it is {kind}, not a file" in found[0].detail or kind == "a directory"
    reward = ExecutionReward(databases)
    assert reward(None, golds, gold=golds, db_id=db_ids) == [None, 1.0]
    assert reward.latest[0].state == "gold_error"


@pytest.fixture
def databases(demo_databases, tmp_path):
    """Demo databases of one's own."""
    return shutil.copytree(demo_databases, tmp_path / "databases")


def test_beside_a_database_it_is_no_variant_no_log_and_no_journal(databases, special):
    folder = databases / "seed_bank"
    before = Scorer(databases).databases("seed_bank")
    for name in ("other.sqlite", "seed_bank.sqlite-journal", "seed_bank.sqlite-wal"):
        special(folder / name)
    scorer = Scorer(databases)
    assert scorer.databases("seed_bank") == before
    assert scorer.score([QUERY], [QUERY], ["seed_bank"])[0].execution is True


@pytest.mark.parametrize("content", [None, b"x" * 100, b"\0" * (100 << 20)], ids=["special", "noise", "too large"])
def test_a_cache_that_is_no_file_of_ours_is_said_and_done_without(databases, special, tmp_path, content):
    def score(folder):
        scorer = Scorer(databases, cache_dir=folder)
        assert scorer.score([QUERY], [f"{QUERY} WHERE 1"], ["seed_bank"])[0].execution is True
        return scorer.cache_problem

    cache = tmp_path / "cache"
    assert score(cache) is None
    (file,) = cache.iterdir()
    kind = special(file)
    if content is None:
        problem = score(cache)
        assert problem
        assert str(file) in problem
        assert kind in problem
    else:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
        file.write_bytes(content)
        problem = score(cache)
        assert (problem is None) if len(content) == 100 else ("it is larger than" in problem)
    # A folder that is none is no reason to stop either.
    assert special(tmp_path / "folder")
    if not (tmp_path / "folder").is_dir():
        assert score(tmp_path / "folder")


def test_a_tables_file_that_is_none_is_refused(databases, special, tmp_path):
    kind = special(tmp_path / "tables.json")
    with pytest.raises(QsqlError, match=f"tables.json`: it is {kind}, not a file\nhint: "):
        Scorer(databases, tmp_path / "tables.json")


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv", "rows.parquet"])
def test_a_source_that_is_no_file_is_refused(tmp_path, special, name):
    kind = special(tmp_path / name)
    with pytest.raises(QsqlError) as caught:
        read_source(str(tmp_path / name), SourceOptions())
    assert f"it is {kind}, not a file" in str(caught.value) or kind == "a directory"


def test_nothing_is_written_in_the_place_of_what_is_no_file(special, tmp_path):
    path = tmp_path / "page.html"
    kind = special(path)
    mode = path.stat().st_mode
    with pytest.raises(QsqlError, match=f"cannot write .*: it is {kind}, not a file\nhint: name a file"):
        write_json(path, {})
    assert path.stat().st_mode == mode
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_a_log_of_rewards_that_is_no_file_is_refused(databases, special, tmp_path):
    kind = special(tmp_path / "log.jsonl")
    with pytest.raises(QsqlError, match=f"cannot write .*: it is {kind}, not a file\nhint: name a file"):
        ExecutionReward(databases, log=tmp_path / "log.jsonl")


@pytest.mark.parametrize(
    "name", ["run.json", "verdicts.jsonl.partial", "verdicts.jsonl", "summary.json", "examples.jsonl"]
)
def test_a_run_directory_in_which_something_is_no_file_does_not_hang(databases, special, tmp_path, name):
    out = tmp_path / "run"
    out.mkdir()
    special(out / name)
    settings = Settings(demo.GOLD, demo.PREDICTIONS["weak"], databases)
    with pytest.raises(QsqlError, match=rf"{re.escape(name)}`: it is .*, not a file\nhint: "):
        evaluate(settings, out)


def test_commands_say_it_and_end(run_qsql, databases, tmp_path):
    pipe = tmp_path / "pipe.sqlite"
    make_pipe(pipe)
    done = run_qsql("explain", "--gold", "SELECT 1", "--pred", "SELECT 1", "--db", pipe)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == f"error: cannot read `{pipe}`: it is a pipe, not a file"
    done = run_qsql("eval", "--gold", pipe, "--pred", demo.PREDICTIONS["weak"], "--db", databases)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: cannot read `{pipe}`: it is a pipe, not a file\nhint: write its content to a file, and give that\n"
    )


def test_a_file_that_became_a_pipe_is_no_database_any_more(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "d.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE species (a)")
    scorer = Scorer(tmp_path)
    assert scorer.score([QUERY], [QUERY], ["d"])[0].execution is True
    (folder / "d.sqlite").unlink()
    make_pipe(folder / "d.sqlite")
    (verdict,) = scorer.score([QUERY], ["SELECT 0"], ["d"])
    assert (verdict.state, verdict.execution) == ("gold_error", None)
    assert "it is a pipe, not a file" in verdict.detail
