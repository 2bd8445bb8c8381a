"""What is written of each step, and when a run is not worth going on with."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest

from qsql import QsqlError
from qsql.train.meter import Meter

STATE = SimpleNamespace(global_step=7, num_input_tokens_seen=1000)


def log(folder, loss, *, fp16=False, should_save=True):
    meter = Meter(folder)
    meter.on_train_begin()
    meter.on_log(SimpleNamespace(fp16=fp16, should_save=should_save), STATE, None, logs={"loss": loss, "grad_norm": 2})
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def test_a_step_has_its_figures(tmp_path):
    (entry,) = log(tmp_path, 0.5)
    assert entry.items() >= {"step": 7, "loss": 0.5, "gradient_norm": 2.0, "tokens": 1000}.items()
    assert entry["seconds"] >= 0


@pytest.mark.parametrize("loss", [math.nan, math.inf])
@pytest.mark.parametrize("should_save", [True, False])
def test_a_loss_that_is_no_number_ends_the_run_in_all_processes(tmp_path, loss, should_save):
    with pytest.raises(QsqlError, match=r"the loss is (nan|inf) at step 7\nhint: lower learning_rate"):
        log(tmp_path, loss, should_save=should_save)


def test_fp16_may_overflow_once(tmp_path):
    (entry,) = log(tmp_path, math.inf, fp16=True)
    assert entry["loss"] == math.inf
