"""Tokens are counted where they are looked at, and without the GPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from qsql.train.token_count import TokenCount

NOTHING = {"should_log": False, "should_save": False, "should_evaluate": False, "should_training_stop": False}


class Model(torch.nn.Module):
    def forward(self, input_ids):
        return input_ids


@pytest.fixture
def counting():
    """Begin to count; returns the callback, the trainer's arguments and state, and its model."""

    def begin(asked):
        args = SimpleNamespace(include_num_input_tokens_seen=asked, device=torch.device("cpu"))
        # As it is after a checkpoint of 1,000 tokens was loaded.
        state, model, count = SimpleNamespace(num_input_tokens_seen=1000), Model(), TokenCount()
        count.on_train_begin(args, state, None, model=model)
        return count, args, state, model

    return begin


@pytest.mark.parametrize("looked_at", NOTHING)
def test_tokens_are_added_where_they_are_looked_at(counting, looked_at):
    count, args, state, model = counting("non_padding")
    assert args.include_num_input_tokens_seen == "no"
    for length in (7, 5):
        model(input_ids=torch.zeros(1, length))
        count.on_step_end(args, state, SimpleNamespace(**NOTHING))
    model.eval()
    model(input_ids=torch.zeros(1, 100))
    model.train()
    assert state.num_input_tokens_seen == 1000
    for event in (count.on_step_end, count.on_epoch_end):
        event(args, state, SimpleNamespace(**NOTHING | {looked_at: True}))
        assert state.num_input_tokens_seen == 1012
    # What the trainer writes at the end depends on it.
    assert args.include_num_input_tokens_seen == ("non_padding" if looked_at == "should_training_stop" else "no")


def test_tokens_that_nobody_asks_for_are_not_counted(counting):
    count, args, state, model = counting("no")
    model(input_ids=torch.zeros(1, 7))
    count.on_step_end(args, state, SimpleNamespace(**NOTHING | {"should_log": True}))
    assert state.num_input_tokens_seen == 1000
    assert args.include_num_input_tokens_seen == "no"
