"""Planted faults: each lands in its stage and in no other, and no clean row is dropped."""

from __future__ import annotations

import json
from collections import Counter

import planted
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from qsql import demo
from qsql.prepare import STAGES, Settings, prepare


def write_tokenizer(path):
    """A tokenizer that splits at spaces, so that words are tokens."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def outcome(demo_databases, tmp_path_factory):
    """The planted rows, the report, what was kept by id, and what was dropped by id."""
    folder = tmp_path_factory.mktemp("planted")
    rows = planted.plant(demo_databases)
    for number, item in enumerate(rows):
        item.record["id"] = str(number)
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(item.record) + "\n" for item in rows))
    evaluation = folder / "dev.json"
    evaluation.write_text(json.dumps(planted.evaluation_set(demo_databases)))
    (folder / "tables.json").write_bytes(demo.TABLES.read_bytes())
    settings = Settings(
        sources=[str(source)],
        exclude=[str(evaluation)],
        db=str(demo_databases),
        tokenizer=str(write_tokenizer(folder / "tokenizer.json")),
        cutoff=500,
        max_steps=1_000_000,
        validation=0.5,
        seed=1,
    )
    report = prepare(settings, folder / "out")
    kept = {
        item["id"]
        for name in ("train", "validation")
        for item in json.loads((folder / "out" / f"{name}.json").read_text())
    }
    lines = (folder / "out" / "dropped.jsonl").read_text().splitlines()
    return rows, report, kept, {item["id"]: item for item in map(json.loads, lines)}


def test_enough_is_planted_in_every_stage(outcome):
    rows, *_ = outcome
    stages = Counter(item.stage for item in rows)
    assert stages.pop(None) == 200
    assert stages.total() >= 200
    assert set(stages) == set(STAGES)
    assert min(stages.values()) >= 8


def test_every_fault_lands_in_its_stage(outcome):
    rows, _, _, dropped = outcome
    wrong = []
    for number, item in enumerate(rows):
        found = dropped.get(str(number), {"stage": None, "reason": None})
        if (found["stage"], found["reason"]) != (item.stage, item.reason):
            wrong.append((item.stage, item.reason, found, item.record["question"], item.record["query"]))
    assert wrong == []


def test_no_clean_row_is_dropped(outcome):
    rows, _, kept, _ = outcome
    assert kept == {str(number) for number, item in enumerate(rows) if item.stage is None}


def test_the_report_counts_what_was_dropped(outcome):
    rows, report, kept, dropped = outcome
    planted_counts = Counter(item.stage for item in rows)
    assert {stage["stage"]: stage["dropped"] for stage in report["stages"]} == {
        stage: planted_counts[stage] for stage in STAGES
    }
    left = len(rows)
    for stage in report["stages"]:
        assert (stage["rows"], stage["is_on"]) == (left, True)
        left -= stage["dropped"]
    assert left == len(kept) == report["train"]["rows"] + report["validation"]["rows"] == report["statistics"]["rows"]
    for stage in STAGES:
        found = report["dropped_examples"][stage]
        assert sum(found["reasons"].values()) == planted_counts[stage]
        assert len(found["examples"]) == 3
        assert all(example["detail"] for example in found["examples"])
    assert all(item["detail"] for item in dropped.values())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_alone_drops_its_own(stage, outcome, demo_databases, tmp_path):
    rows, *_ = outcome
    alone = [item.record for item in rows if item.stage in {None, stage}]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in alone))
    evaluation = tmp_path / "dev.json"
    evaluation.write_text(json.dumps(planted.evaluation_set(demo_databases)))
    (tmp_path / "tables.json").write_bytes(demo.TABLES.read_bytes())
    settings = Settings(
        sources=[str(source)],
        exclude=[str(evaluation)],
        tokenizer=str(write_tokenizer(tmp_path / "tokenizer.json")),
        cutoff=500,
        skip=[name for name in STAGES if name != stage],
        validation=0,
        db=str(demo_databases),
        max_steps=1_000_000,
    )
    on = prepare(settings, tmp_path / "on")
    assert sum(item["dropped"] for item in on["stages"]) == len(alone) - 200
    assert [item["stage"] for item in on["stages"] if item["is_on"]] == [stage]
