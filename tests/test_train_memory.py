"""The estimate of GPU memory against peaks measured on an H200 and an H100 of 80 GB, with Qwen3-4B."""

from __future__ import annotations

import pytest

from qsql.train.memory import (
    GIB,
    KNOWN_SHAPES,
    QWEN3_4B,
    Shape,
    Training,
    checkpoint_bytes,
    estimate,
    row_budget,
)

ROW = Training(tokens=2048, trained_tokens=2048)
PURE = Training(tokens=2048, trained_tokens=2048, mixed=False, weight_bytes=2, state_bytes=4)


def test_the_parameters_of_known_models_are_counted():
    assert QWEN3_4B.parameters == 4_022_468_096
    assert KNOWN_SHAPES["HuggingFaceTB/SmolLM2-135M-Instruct"].parameters == 134_515_008


@pytest.mark.parametrize(
    ("training", "measured"),
    [
        pytest.param(ROW, 71.5, id="rows of 2,048 tokens, float32 weights"),
        pytest.param(PURE, 34.1, id="rows of 2,048 tokens, pure bf16"),
        pytest.param(Training(tokens=933, trained_tokens=933), 69.3, id="the card's recipe"),
        pytest.param(Training(tokens=933, trained_tokens=933, checkpointed=False), 74.7, id="without checkpointing"),
        pytest.param(Training(tokens=5552, trained_tokens=5552, accumulates=False), 63.5, id="8 examples, padded"),
    ],
)
def test_the_estimate_is_near_what_was_measured(training, measured):
    assert sum(estimate(QWEN3_4B, training).values()) / GIB == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(
    ("tokens", "compiled", "measured"),
    [(5499, False, 92.5), (3324, False, 77.2), (5499, True, 77.5), (3324, True, 68.2)],
)
def test_a_row_that_is_kept_takes_what_was_measured(tokens, compiled, measured):
    # Of eight examples without padding, about one token in twelve is trained.
    training = Training(tokens, tokens // 12, accumulates=False, compiled=compiled)
    budget = row_budget(QWEN3_4B, training)
    total = budget["static_bytes"] + tokens * budget["bytes_per_token"]
    assert total / GIB == pytest.approx(measured, rel=0.02)


@pytest.mark.parametrize(
    ("tokens", "compiled", "measured"), [(2856, False, 25.9), (2856, True, 20.6), (5150, True, 31.1)]
)
def test_a_row_that_is_kept_takes_what_was_measured_with_adapters(tokens, compiled, measured):
    adapters = {"weight_bytes": 2, "trained_weights": 33_030_144}
    budget = row_budget(QWEN3_4B, Training(tokens, tokens // 12, accumulates=False, compiled=compiled, **adapters))
    total = budget["static_bytes"] + tokens * budget["bytes_per_token"]
    assert total / GIB == pytest.approx(measured, rel=0.03)


def test_gradients_of_earlier_rows_count():
    one, two = (row_budget(QWEN3_4B, Training(2048, 200, accumulates=accumulates)) for accumulates in (False, True))
    head = 4 * QWEN3_4B.vocabulary * QWEN3_4B.hidden
    assert two["static_bytes"] - one["static_bytes"] == 4 * QWEN3_4B.parameters - head
    assert two["bytes_per_token"] == one["bytes_per_token"]


def test_shards_divide_what_they_say():
    alone = estimate(QWEN3_4B, ROW)
    divided = estimate(QWEN3_4B, Training(2048, 2048, gpus=2, shards=("weights", "gradients", "optimizer")))
    for part in ("weights", "gradients", "optimizer"):
        assert divided[part] == alone[part] // 2
    assert estimate(QWEN3_4B, Training(2048, 2048, gpus=2))["communication"] == 4 * QWEN3_4B.parameters


def test_gathered_layers_are_whole_on_each_gpu():
    def copies(layers):
        training = Training(2048, 2048, gpus=2, shards=("weights", "gradients", "optimizer"), layers_gathered=layers)
        return estimate(QWEN3_4B, training)["bf16 copies of weights"]

    assert copies(None) == 2 * QWEN3_4B.parameters
    assert copies(8) == pytest.approx(4 * copies(2), rel=1e-6)
    assert copies(100) == copies(36) == copies(None)


def test_an_adapter_takes_little_beside_the_model():
    parts = estimate(QWEN3_4B, Training(2048, 2048, weight_bytes=2, trained_weights=33_000_000))
    assert parts["optimizer"] + parts["gradients"] < GIB / 2
    assert parts["weights"] / GIB == pytest.approx(7.6, abs=0.1)


def test_checkpoints_hold_weights_and_optimizer():
    assert checkpoint_bytes(QWEN3_4B, ROW, only_model=False) / 1e9 == pytest.approx(48.3, abs=0.1)
    assert checkpoint_bytes(QWEN3_4B, ROW, only_model=True) / 1e9 == pytest.approx(16.1, abs=0.1)


def test_a_shape_is_read_from_a_configuration():
    config = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
    config |= {"num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True, "model_type": "llama"}
    assert Shape.from_config(config) == KNOWN_SHAPES["HuggingFaceTB/SmolLM2-135M-Instruct"]
    assert Shape.from_config({"model_type": "t5", "d_model": 512}) is None
