"""A `db_id` is the name of one folder, for whatever asks for its database: none leads out of the folder around."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from qsql import QsqlError, Scorer
from qsql._core import database_file
from qsql.evaluate import Settings, evaluate
from qsql.generate.questions import read_questions
from qsql.generate.selection import make_scorer
from qsql.prepare import Settings as PrepareSettings
from qsql.prepare import prepare
from qsql.report.page import write_report
from qsql.report.run import read_run
from qsql.rewards import ExecutionReward
from qsql.schema_text import Schemas
from qsql.train.plan import Options, make_plan

CELL = "a cell of a database that nobody asked for"
REFUSED = r"is not a database name\nhint: a database name is the name of one folder"
OUTSIDE = "{outside}"
"""Stands for the absolute path of a database beside the folder."""
NAMES = [
    OUTSIDE, "../outside", "x/../../outside", "./seed_bank", "seed_bank/", "/seed_bank", "seed_bank/.", "x/..", "..",
    ".", "/", "//", "", "a\\b", "..\\outside", "seed_bank\0", "\0", "/etc/passwd", "\ud800",
]  # fmt: skip


@pytest.fixture
def databases(demo_databases, tmp_path):
    """The demo databases, and beside their folder one with a secret."""
    folder = shutil.copytree(demo_databases, tmp_path / "databases")
    (tmp_path / "outside").mkdir()
    for file in (tmp_path / "outside" / "outside.sqlite", tmp_path / "outside.sqlite"):
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("CREATE TABLE t (a TEXT)")
            connection.execute("INSERT INTO t VALUES (?)", (CELL,))
    return folder


@pytest.fixture(params=NAMES, ids=ascii)
def name(request, databases):
    """A `db_id` that is none."""
    return request.param.replace(OUTSIDE, str(databases.parent / "outside"))


def test_the_rule(databases, name):
    with pytest.raises(QsqlError, match=REFUSED):
        database_file(databases, name)
    with pytest.raises(QsqlError, match=REFUSED):
        Scorer(databases).databases(name)
    with pytest.raises(QsqlError, match=REFUSED):
        Schemas(databases=databases).text(name)


@pytest.mark.parametrize("name", ["a b", "é", "...", "-x", "a:b c", "~", "$HOME", "%2e%2e", "x.sqlite", "\u202e"])
def test_odd_names_are_names(databases, name):
    if os.name == "nt" and ":" in name:
        pytest.skip("no name on Windows")
    assert os.fspath(database_file(databases, name)) == os.fspath(databases / name / f"{name}.sqlite")


def test_preparing(databases, name, tmp_path):
    source = tmp_path / "rows.json"
    source.write_text(json.dumps([{"question": "a?", "query": "SELECT a FROM t", "db_id": name}]))
    if name in {"", "\ud800"}:
        # No name at all is a row without schema, and a broken one is replaced where text is read.
        return
    for values in (0, 3):
        settings = PrepareSettings(sources=[str(source)], db=str(databases), values=values)
        with pytest.raises(QsqlError, match=r"rows\.json entry 1: .* " + REFUSED):
            prepare(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_preparing_with_a_schema_beside_the_name(databases, tmp_path):
    outside = str(databases.parent / "outside")
    row = {"question": "a?", "query": "SELECT a FROM t", "db_id": outside, "schema": "CREATE TABLE t (a TEXT);"}
    source = tmp_path / "rows.json"
    source.write_text(json.dumps([row]))
    with pytest.raises(QsqlError, match=REFUSED):
        prepare(PrepareSettings(sources=[str(source)], db=str(databases)), tmp_path / "out")
    # Without databases it is a name and nothing else.
    report = prepare(PrepareSettings(sources=[str(source)], validation=0), tmp_path / "out")
    assert report["train"]["rows"] == 1


def test_generating(databases, name, tmp_path):
    data = tmp_path / "questions.json"
    data.write_text(json.dumps([{"question": "a?", "db_id": name}]))
    if name != "\ud800":
        with pytest.raises(QsqlError, match=r"entry 1: .* " + REFUSED):
            read_questions(data, database_dir=databases)
    with pytest.raises(QsqlError, match=REFUSED):
        make_scorer(databases, [name])


@pytest.mark.parametrize(
    "path", [OUTSIDE + ".sqlite", "../outside.sqlite", "x/../../outside.sqlite", "..\\outside.sqlite"]
)
def test_a_database_beside_questions_lies_in_their_folder(databases, path):
    (databases / "questions.jsonl").write_text(
        json.dumps({"question": "a?", "db": path.replace(OUTSIDE, str(databases.parent / "outside"))})
    )
    with pytest.raises(QsqlError, match=r"line 1: `db` is .* outside of the folder"):
        read_questions(databases / "questions.jsonl")


def test_evaluating(databases, name, tmp_path):
    (tmp_path / "gold.json").write_text(json.dumps([{"query": "SELECT a FROM t", "db_id": name}]))
    (tmp_path / "pred.sql").write_text("SELECT a FROM t\n")
    with pytest.raises(QsqlError, match=REFUSED):
        evaluate(Settings(tmp_path / "gold.json", tmp_path / "pred.sql", databases))


def test_reporting(databases, name, tmp_path):
    (tmp_path / "gold.json").write_text(json.dumps([{"query": "SELECT 1", "db_id": "seed_bank"}]))
    (tmp_path / "pred.sql").write_text("SELECT 2\n")
    run = tmp_path / "run"
    evaluate(Settings(tmp_path / "gold.json", tmp_path / "pred.sql", databases), run)
    verdicts = (run / "verdicts.jsonl").read_text()
    for file in (run / "verdicts.jsonl", run / "examples.jsonl"):
        line = json.loads(file.read_text())
        file.write_text(json.dumps({**line, "db_id": name}) + "\n")
    with pytest.raises(QsqlError, match=REFUSED):
        write_report(read_run(run), tmp_path / "page.html")
    # A file of the suite that the verdict names is one beside the database.
    (run / "examples.jsonl").write_text((run / "examples.jsonl").read_text().replace(json.dumps(name), '"seed_bank"'))
    (run / "verdicts.jsonl").write_text(json.dumps({**json.loads(verdicts), "failed_on": f"../{name}.sqlite"}) + "\n")
    with pytest.raises(QsqlError, match="is not the name of a database file"):
        write_report(read_run(run), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_rewarding(databases, name):
    with pytest.raises(QsqlError, match="item 0"):
        ExecutionReward(databases)(None, ["SELECT 1"], query=["SELECT 1"], db_id=[name])


def test_training(databases, name, tmp_path):
    data, model = tmp_path / "data", tmp_path / "model"
    data.mkdir()
    model.mkdir()
    example = {"instruction": "a?", "output": "SELECT a FROM t", "db_id": name}
    for part in ("train", "validation"):
        (data / f"{part}.json").write_text(json.dumps([example]))
    columns = {"prompt": "instruction", "response": "output"}
    info = {part: {"file_name": f"{part}.json", "columns": columns} for part in ("train", "validation")}
    (data / "dataset_info.json").write_text(json.dumps(info))
    for file in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / file).write_text("{}")
    places = [f"dataset_dir={data}", f"model_name_or_path={model}", f"output_dir={tmp_path / 'run'}"]
    config = Path(__file__).parent.parent / "configs" / "train" / "tiny_cpu.yaml"
    with pytest.raises(QsqlError, match=r"entry 1: .* " + REFUSED):
        make_plan(config, places, Options(select="execution", database_dir=databases))
