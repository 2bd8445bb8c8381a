"""Entries of `dataset_info.json`: what is checked is what LLaMA-Factory trains on, or the entry is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from qsql import QsqlError
from qsql.dataset_info import ELSEWHERE, PARTS, entry_of
from qsql.generate.questions import read_questions
from qsql.train.plan import Options, make_plan
from qsql.train.worker import require_unchanged

CONFIG = Path(__file__).parent.parent / "configs" / "train" / "tiny_cpu.yaml"
EXAMPLE = {"instruction": "a?", "input": "", "output": "SELECT 1", "schema": "CREATE TABLE t (a)", "db_id": "d"}
COLUMNS = {"prompt": "instruction", "query": "input", "response": "output"}
ENTRY = {"file_name": "train.json", "columns": COLUMNS}
REFUSED = {
    "a script beside the file": {"script_url": "other.py"},
    "a script in place of the file": {"script_url": "other.py", "file_name": None},
    "the hub": {"hf_hub_url": "someone/data"},
    "ModelScope": {"ms_hub_url": "someone/data"},
    "Modelers": {"om_hub_url": "someone/data"},
    "a cloud": {"cloud_file_name": "s3://bucket/train.json"},
    "a hub that is null": {"hf_hub_url": None},
    "a script that is null": {"script_url": None},
    "a script without a name": {"script_url": ""},
    "a subset": {"subset": "other"},
    "a folder": {"folder": "other"},
    "a sample": {"num_samples": 1},
    "a sample that is larger": {"num_samples": 100},
    "another split": {"split": "validation"},
    "a slice of the split": {"split": "train[:1]"},
    "two splits": {"split": "train+test"},
    "another format": {"formatting": "sharegpt"},
    "pairs": {"ranking": True},
    "an absolute file": {"file_name": "/etc/hostname.json"},
    "a file above": {"file_name": "../train.json"},
    "a file above, later": {"file_name": "a/../../train.json"},
    "a file of Windows": {"file_name": "C:\\train.json"},
    "a file above, of Windows": {"file_name": "..\\train.json"},
    "an address": {"file_name": "https://example.com/train.json"},
    "a folder of files": {"file_name": "folder"},
    "this folder": {"file_name": "."},
    "a file of another kind": {"file_name": "train.csv"},
    "a file of no kind": {"file_name": "train"},
    "no file": {"file_name": ""},
    "a number": {"file_name": 7},
    "a list of files": {"file_name": ["train.json"]},
    "turns before": {"columns": {**COLUMNS, "history": "history"}},
    "a system turn": {"columns": {**COLUMNS, "system": "db_id"}},
    "tools": {"columns": {**COLUMNS, "tools": "db_id"}},
    "pictures": {"columns": {**COLUMNS, "images": "db_id"}},
    "better and worse": {"columns": {**COLUMNS, "chosen": "output", "rejected": "input"}},
    "a judgement": {"columns": {**COLUMNS, "kto_tag": "db_id"}},
    "messages": {"columns": {**COLUMNS, "messages": "db_id"}},
    "no prompt": {"columns": {"response": "output"}},
    "no response": {"columns": {"prompt": "instruction"}},
    "a prompt that is null": {"columns": {**COLUMNS, "prompt": None}},
    "columns that are none": {"columns": ["instruction"]},
    "a column that is a number": {"columns": {**COLUMNS, "prompt": 1}},
}


@pytest.fixture
def folder(tmp_path):
    """A data set of one example, with a script that must not run, and other rows elsewhere."""
    folder = tmp_path / "data"
    (folder / "folder").mkdir(parents=True)
    text = json.dumps([EXAMPLE])
    for file in (
        folder / "train.json",
        tmp_path / "train.json",
        folder / "folder" / "train.json",
        folder / "train.csv",
    ):
        file.write_text(text, encoding="utf-8")
    (folder / "other.py").write_text("raise SystemExit('a script ran')", encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / "report.json").write_text(json.dumps({"outputs": {"train.json": digest}}), encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps({"train": ENTRY}), encoding="utf-8")
    model = tmp_path / "model"
    model.mkdir()
    for file in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / file).write_text("{}", encoding="utf-8")
    return folder


def plan(folder, *overrides, options=None):
    places = [
        f"dataset_dir={folder}",
        f"model_name_or_path={folder.parent / 'model'}",
        f"output_dir={folder.parent / 'run'}",
    ]
    return make_plan(CONFIG, [*places, "eval_dataset=train", *overrides], options)


def test_an_entry_that_is_checked(folder):
    assert [part.verified for part in plan(folder).train] == [True]
    (question,) = read_questions(folder, split="train")
    assert question.prompt == "a?"


@pytest.mark.parametrize("entry", REFUSED.values(), ids=REFUSED)
def test_an_entry_that_stands_for_other_rows_is_refused(folder, entry):
    found = {
        key: value
        for key, value in {**ENTRY, **entry}.items()
        if key not in entry or value is not None or key != "file_name"
    }
    (folder / "dataset_info.json").write_text(json.dumps({"train": found}), encoding="utf-8")
    with pytest.raises(QsqlError, match=r"dataset_info\.json`: .*`train`.*\nhint: `qsql data prepare`"):
        plan(folder)
    with pytest.raises(QsqlError, match=r"dataset_info\.json`: .*`train`.*\nhint: `qsql data prepare`"):
        read_questions(folder, split="train")


@pytest.mark.parametrize("info", [[], "x", None, 7, {"train": "train.json"}, {"train": []}, {"other": ENTRY}, {}])
def test_what_has_no_such_entry_is_an_error(folder, info):
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    with pytest.raises(QsqlError, match=r"has no data set `train`\nhint: "):
        plan(folder)
    with pytest.raises(QsqlError, match=r"has no data set `train`\nhint: "):
        read_questions(folder, split="train")


def test_a_file_in_a_folder_below_is_not_verified_by_one_of_the_same_name(folder):
    (folder / "dataset_info.json").write_text(json.dumps({"train": {**ENTRY, "file_name": "folder/train.json"}}))
    (folder / "folder" / "train.json").write_text(json.dumps([EXAMPLE, EXAMPLE]), encoding="utf-8")
    assert [part.verified for part in plan(folder).train] == [False]


@pytest.mark.parametrize("word", ["ONLINE", "REMOTE:someone/data"])
def test_llamafactorys_words_for_the_hub_are_no_folders(folder, word, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / word).parent.mkdir(exist_ok=True)
    (tmp_path / word).symlink_to(folder)
    with pytest.raises(QsqlError, match="is LLaMA-Factory's word for data sets on the hub"):
        plan(folder, f"dataset_dir={word}")


def test_rows_that_were_tokenized_before_are_refused(folder):
    with pytest.raises(QsqlError, match="would train on what lies in `tokenized_path`"):
        plan(folder, f"tokenized_path={folder}")


def test_a_file_that_changes_after_it_was_checked_stops_the_worker(folder):
    made = plan(folder)
    data = {part.name: {"sha256": part.sha256} for part in made.train}
    require_unchanged(made.config, data)
    (folder / "report.json").unlink()
    (folder / "train.json").write_text(json.dumps([{**EXAMPLE, "output": "SELECT 2"}]), encoding="utf-8")
    with pytest.raises(QsqlError, match="has changed since the run was planned"):
        require_unchanged(made.config, data)


def test_code_of_a_model_needs_an_option(folder):
    with pytest.raises(QsqlError, match=r"override `trust_remote_code=true`: (.|\n)*--trust-remote-code"):
        plan(folder, "trust_remote_code=true")
    assert plan(folder).config.values["trust_remote_code"] is False
    assert plan(folder, "trust_remote_code=false").config.values["trust_remote_code"] is False
    for overrides in ([], ["trust_remote_code=true"]):
        trusting = plan(folder, *overrides, options=Options(trust_remote_code=True))
        assert trusting.config.values["trust_remote_code"] is True


def test_the_keys_are_those_of_llamafactory():
    for key in (*ELSEWHERE, *PARTS):
        with pytest.raises(QsqlError, match=f"`x` has `{key}`"):
            entry_of(Path("dataset_info.json"), {"x": {**ENTRY, key: None}}, "x", "here")
