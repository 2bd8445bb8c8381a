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


class Training:
    """What a trainer does that goes on from a checkpoint of 1,000 tokens, as far as the count can see."""

    def __init__(self, asked):
        self.args = SimpleNamespace(include_num_input_tokens_seen=asked, device=torch.device("cpu"))
        self.state, self.model, self.count = SimpleNamespace(num_input_tokens_seen=1000), Model(), TokenCount()
        self.begin()

    def begin(self):
        self.count.on_train_begin(self.args, self.state, None, model=self.model)

    def step(self, *lengths, **flags):
        self.count.on_step_begin(self.args, self.state, None)
        for length in lengths:
            self.model(input_ids=torch.zeros(1, length))
            assert self.args.include_num_input_tokens_seen == "no"
        self.count.on_step_end(self.args, self.state, SimpleNamespace(**NOTHING | flags))


@pytest.mark.parametrize("looked_at", NOTHING)
def test_tokens_are_added_where_they_are_looked_at(looked_at):
    training = Training("non_padding")
    training.step(7, 5)
    training.model.eval()
    training.model(input_ids=torch.zeros(1, 100))
    training.model.train()
    assert training.state.num_input_tokens_seen == 1000
    training.step(3, **{looked_at: True})
    assert training.state.num_input_tokens_seen == 1015
    # What the trainer logs depends on it.
    assert training.args.include_num_input_tokens_seen == "non_padding"
    training.step(2, 2)
    training.count.on_epoch_end(training.args, training.state, SimpleNamespace(**NOTHING | {looked_at: True}))
    assert training.state.num_input_tokens_seen == 1019


def test_a_training_that_begins_again_counts_once():
    training = Training("all")
    training.count.on_step_begin(training.args, training.state, None)
    training.model(input_ids=torch.zeros(1, 9))
    # Memory ran out within the step, and the next attempt has smaller batches.
    training.begin()
    training.step(4, should_log=True)
    assert training.state.num_input_tokens_seen == 1004
    assert training.args.include_num_input_tokens_seen == "all"


def test_tokens_that_nobody_asks_for_are_not_counted():
    training = Training("no")
    training.step(7, should_log=True)
    assert training.state.num_input_tokens_seen == 1000
    assert training.args.include_num_input_tokens_seen == "no"
