"""Training in several processes: rows of equal length, groups of layers, and the losses of one process."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys

import accelerate.data_loader
import fsdp_worker
import pytest
import torch
from conftest import ENVIRONMENT, TINY, read_lines
from datasets import Dataset
from processes import PATIENCE

from qsql import QsqlError
from qsql.machine import Gpu
from qsql.train import launch
from qsql.train.balance import BalancedBatches, balance, deal
from qsql.train.plan import Options, make_plan

LENGTHS = [100, 20, 30, 90, 10, 80, 50, 40, 60, 70, 15]


@pytest.fixture
def in_two_processes(tiny, tmp_path, monkeypatch):
    """Train the tiny model in two processes on the CPU, as on two GPUs; returns the run directory."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    def train(name, *arguments):
        places = [f"model_name_or_path={tiny / 'model'}", f"dataset_dir={tiny / 'data'}"]
        options = Options(select="execution", database_dir=tiny / "databases", validation_sample=5)
        plan = make_plan(TINY, [*places, f"output_dir={tmp_path / name}", *arguments], options)
        gpus = [Gpu(index, "a stand-in", 2**40, 0) for index in range(2)]
        launch.run(dataclasses.replace(plan, gpus=gpus), ["test"])
        return tmp_path / name

    return train


def loaders(processes=2):
    """The loaders of the processes, as accelerate makes them, without shuffling."""
    dataset = Dataset.from_dict({"input_ids": [[0] * length for length in LENGTHS]})
    plain = torch.utils.data.DataLoader(dataset, batch_size=2)
    prepare = accelerate.data_loader.prepare_data_loader
    return [prepare(plain, num_processes=processes, process_index=index) for index in range(processes)]


def test_examples_are_dealt_out_by_length():
    rows = deal([5, 9, 1, 7, 6, 4], 2)
    assert rows == [[0, 1, 2], [3, 4, 5]]
    assert deal([3, 3, 3, 3], 2) == [[0, 2], [1, 3]]
    # Each row has as many examples, however long they are.
    assert [len(row) for row in deal([100, 1, 1, 1], 2)] == [2, 2]
    assert deal([2, 1], 1) == [[0, 1]]


def test_the_examples_of_a_step_stay_the_same():
    plain = list(loaders()[0].batch_sampler.batch_sampler)
    assert plain == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10]]
    balanced = BalancedBatches(loaders()[0].batch_sampler.batch_sampler, LENGTHS, 4)
    batches = list(balanced)
    assert len(balanced) == len(batches) == 6
    assert sorted(itertools.chain(*batches[:4])) == list(range(8))
    totals = [sum(LENGTHS[index] for index in batch) for batch in batches[:4]]
    assert max(totals) == 110 < max(sum(LENGTHS[index] for index in batch) for batch in plain[:4])
    # A step that the epoch's end cuts off has nothing to exchange.
    assert batches[4:] == [[8, 9], [10]]


def test_each_process_gets_its_part_of_the_same_steps():
    processes = loaders()
    plain = list(processes[0].batch_sampler.batch_sampler)
    assert all(balance(process, 2) for process in processes)
    first, second = ([list(batch) for batch in process.batch_sampler] for process in processes)
    assert len(first) == len(second) == 3
    taken = [first[0], second[0], first[1], second[1]]
    assert taken != plain[:4]
    assert sorted(itertools.chain(*taken)) == list(range(8))
    assert max(sum(LENGTHS[index] for index in batch) for batch in taken) == 110
    # The last one is filled up from the first, by accelerate.
    assert sorted(first[2] + second[2])[-3:] == [8, 9, 10]


def test_one_process_has_nothing_to_balance():
    (alone,) = loaders(processes=1)
    before = list(alone.batch_sampler)
    assert not balance(alone, 1)
    assert list(alone.batch_sampler) == before


def test_two_processes_train_as_one(in_two_processes, train, tiny, tmp_path):
    arguments = ["save_steps=20", "eval_steps=20", "num_train_epochs=4"]
    alone = tmp_path / "alone"
    done = train(alone, *arguments, "--select", "execution", "--db", tiny / "databases", "--validation-sample", 5)
    assert done.returncode == 0, done.stderr
    expected = read_lines(alone / "steps.jsonl")
    together = in_two_processes(
        "together", *arguments, "per_device_train_batch_size=4", "gradient_accumulation_steps=1"
    )
    log = (together / "train.log").read_text(encoding="utf-8")
    assert log.count("qsql: batches without padding, as long on all GPUs") == 1
    entries = read_lines(together / "steps.jsonl")
    assert [entry["step"] for entry in entries] == [entry["step"] for entry in expected]
    for key in ("loss", "gradient_norm"):
        assert [entry[key] for entry in entries] == pytest.approx([entry[key] for entry in expected], rel=1e-4), key
    assert [entry["tokens"] for entry in entries] == [entry["tokens"] for entry in expected]
    # Each process answers a part of the validation sample.
    answers = [read_lines(run / "validation" / "step-20.jsonl") for run in (alone, together)]
    assert len(answers[0]) == 5
    assert answers[0] == answers[1]


def train_alone(*, adam):
    """Train the whole model in this process; returns what `fsdp_worker` reports of it."""
    model = fsdp_worker.make_model()
    optimizer = fsdp_worker.make_optimizer(model, adam=adam)
    losses, copied = [], []
    for examples in fsdp_worker.make_steps():
        loss = fsdp_worker.loss_of(model, examples, sum(len(ids) - 1 for ids in examples))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        with torch.no_grad():
            copied.append(model(input_ids=torch.arange(3)[None]).logits.double().abs().sum().item())
    assert losses[-1] < losses[0]
    return {"losses": losses, "copied": copied, "sums": fsdp_worker.sums_of(model.state_dict())}


def test_groups_of_layers_train_as_the_whole_model(tmp_path):
    alone = {adam: train_alone(adam=adam) for adam in (False, True)}
    out = tmp_path / "trained.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [fsdp_worker.__file__, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    trained = json.loads(out.read_text())
    # One group more holds what is no layer.
    assert {name: way["groups"] for name, way in trained.items()} == {
        "one by one": 6,
        "groups": 4,
        "groups, kept": 4,
        "groups, recomputed": 4,
        "all at once": 2,
        "one by one in bfloat16": 6,
        "groups in bfloat16": 4,
        "one by one, AdamW": 6,
        "groups, AdamW": 4,
    }
    for name, way in trained.items():
        close = 0.02 if "bfloat16" in name else 1e-4
        for key, expected in alone["AdamW" in name].items():
            assert way[key] == pytest.approx(expected, rel=close), (name, key)
        assert way["loaded"] == pytest.approx({key: 2 * value for key, value in way["sums"].items()}, rel=1e-6), name
        # What generates is never the divided model, which would be gathered for each token.
        assert not any(way["lent"]), name
        # Never some of them: for such a mixture optimizers are not fused.
        assert way["divided"] == ["one by one" not in name], name
        # AdamW steps on the shards themselves, but its checkpoints know that they are shards.
        assert way["stepped on divided"] == ([False] if "AdamW" in name else []), name
        assert way["state divided"] == ([True] if "AdamW" in name else []), name
        # Whatever the weights are rounded to, the loss is not.
        assert not all(way["rounded"]), name


def test_a_run_that_leaves_no_model_says_so(tiny, tmp_path, monkeypatch):
    state = {"global_step": 20, "best_model_checkpoint": None, "log_history": []}
    write = f"import pathlib; pathlib.Path('trainer_state.json').write_text({json.dumps(state)!r})"
    out = tmp_path / "run"
    monkeypatch.setattr(
        launch, "command", lambda _: [sys.executable, "-c", f"import os; os.chdir({str(out)!r}); {write}"]
    )
    places = [f"model_name_or_path={tiny / 'model'}", f"dataset_dir={tiny / 'data'}", f"output_dir={out}"]
    places += ["overwrite_output_dir=true"]
    for folder in ("checkpoint-9", "validation"):
        (out / folder).mkdir(parents=True)
    (out / "validation" / "step-9.jsonl").touch()
    (out / "trainer_log.jsonl").write_text('{"current_steps": 9, "loss": 1.0}\n', encoding="utf-8")
    with pytest.raises(QsqlError, match=r"there are no weights in .*\nhint: .*FULL_STATE_DICT"):
        launch.run(make_plan(TINY, places), ["test"])
    assert json.loads((out / "run.json").read_text())["training"]["outcome"]["steps"] == 20
    # What an earlier run has left there is not this one's.
    for name in ("validation/step-9.jsonl", "trainer_log.jsonl"):
        assert not (out / name).exists()
    # Its checkpoints may be all that is left of days.
    assert (out / "checkpoint-9").is_dir()
