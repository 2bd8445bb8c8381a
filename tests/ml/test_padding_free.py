"""Rows of several examples: what the model sees, and that it cannot tell them from single ones."""

from __future__ import annotations

import accelerate
import pytest
import torch
import transformers.masking_utils
from transformers import Qwen3Config, Qwen3ForCausalLM

from qsql import QsqlError
from qsql.train.padding_free import IGNORED, PaddingFree, checkpoint_long_rows, concatenate
from qsql.train.row_attention import use_row_attention

EXAMPLES = [
    {"input_ids": [5, 6, 7, 8, 9], "labels": [IGNORED, IGNORED, IGNORED, 8, 9]},
    {"input_ids": [10, 11, 12], "labels": [10, 11, 12]},
    {"input_ids": [13, 14, 15, 16], "labels": [IGNORED, IGNORED, IGNORED, 16]},
]


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    return Qwen3ForCausalLM(config).train()


def single_losses(model):
    """The loss of each trained token, examples one by one."""
    losses = []
    for example in EXAMPLES:
        logits = model(input_ids=torch.tensor([example["input_ids"]])).logits[0, :-1]
        targets = torch.tensor(example["labels"][1:])
        losses.append(torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum"))
    return torch.stack(losses).sum()


def test_a_row_keeps_positions_and_trains_the_same_tokens():
    row = concatenate(EXAMPLES)
    assert row["input_ids"].tolist() == [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]]
    assert row["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3]]
    assert row["logits_to_keep"].tolist() == [2, 3, 5, 6, 10]
    assert row["shift_labels"].tolist() == [[8, 9, 11, 12, 16]]
    assert row["cu_seq_lens_q"].tolist() == [0, 5, 8, 12]
    # Rows of other lengths have the same bound, so that compiled layers serve them all.
    assert row["max_length_q"] == concatenate(EXAMPLES[:1])["max_length_q"] >= 5
    # The first token of the second example has nothing before it, so it is trained nowhere.
    assert int((row["labels"] != IGNORED).sum()) == 5


def test_loss_and_gradients_are_those_of_single_examples(model):
    single_losses(model).backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    loss = model(**concatenate(EXAMPLES), num_items_in_batch=1).loss
    loss.backward()
    assert loss.item() == pytest.approx(single_losses(model).item(), rel=1e-6)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], atol=1e-5), name


def varlen_by_loops(query, key, value, bounds, _, longest, __, *, window_size=(-1, -1), enable_gqa=False):
    """Stand in for torch's kernel, which needs a GPU."""
    assert window_size == (-1, 0)
    assert longest >= int((bounds[1:] - bounds[:-1]).max())
    assert query.dtype == key.dtype == value.dtype
    rows = []
    for start, end in zip(bounds.tolist(), bounds.tolist()[1:], strict=False):
        part = [tensor[start:end].transpose(0, 1) for tensor in (query, key, value)]
        attended = torch.nn.functional.scaled_dot_product_attention(*part, is_causal=True, enable_gqa=enable_gqa)
        rows.append(attended.transpose(0, 1))
    return torch.cat(rows)


@pytest.mark.parametrize("kind", ["varlen", "looped"])
def test_each_example_is_attended_to_by_itself(model, monkeypatch, kind):
    from torch.nn.attention import varlen  # noqa: PLC0415

    expected = model(**concatenate(EXAMPLES), num_items_in_batch=1).loss.item()
    padded = {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    logits = model(**padded).logits
    monkeypatch.setattr(varlen, "varlen_attn", varlen_by_loops)
    use_row_attention(model, kind)
    with monkeypatch.context() as patch:
        # What it finds out by looking at the positions, the CPU would have to ask the GPU.
        patch.setattr(transformers.masking_utils, "find_packed_sequence_indices", None)
        assert model(**concatenate(EXAMPLES), num_items_in_batch=1).loss.item() == pytest.approx(expected, rel=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(**concatenate(EXAMPLES), num_items_in_batch=1).loss.item() == pytest.approx(expected, rel=1e-2)
    # Evaluation and generation have padded batches even so.
    assert torch.allclose(model(**padded).logits[0], logits[0], atol=1e-5)
    assert torch.allclose(model(**padded).logits[1, :2], logits[1, :2], atol=1e-5)


def test_only_long_rows_are_recomputed(model):
    model.gradient_checkpointing_enable()
    layers = list(model.model.layers)
    checkpoint_long_rows(model, layers, limit=10)
    model(**concatenate(EXAMPLES))
    assert all(layer.gradient_checkpointing for layer in layers)
    model(**concatenate(EXAMPLES[:2]))
    assert not any(layer.gradient_checkpointing for layer in layers)


def test_the_limit_is_what_memory_leaves(monkeypatch):
    class Properties:
        total_memory = 1000

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    arguments = type("Arguments", (), {"use_cpu": False})

    def limit(static, above=None):
        plugin = PaddingFree(
            concatenate=True,
            attention="auto",
            compile_layers=False,
            checkpoint_above=above,
            row_budget={"static_bytes": static, "bytes_per_token": 10},
        )
        return plugin.row_limit(arguments)

    assert limit(600) == 34
    assert limit(2000) == 0
    assert limit(600, above=7) == 7


def test_a_trainer_that_pads_its_batches_is_stopped(model):
    padded = {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    dataset = [{"input_ids": [1, 2], "labels": [IGNORED, 2]}] * 4
    loader = accelerate.Accelerator(cpu=True).prepare(torch.utils.data.DataLoader(dataset, batch_size=2))
    plugin = PaddingFree(
        concatenate=True, attention="masked", compile_layers=False, checkpoint_above=None, row_budget={}
    )
    arguments = type("Arguments", (), {"use_cpu": True, "bf16": False, "fp16": False, "gradient_accumulation_steps": 1})
    plugin.on_train_begin(arguments, None, None, model=model, train_dataloader=loader)
    (first, second) = list(loader)
    assert first["input_ids"].tolist() == second["input_ids"].tolist() == [[1, 2, 1, 2]]
    assert model(**first, num_items_in_batch=2).loss.item() > 0
    with pytest.raises(QsqlError, match="batches are padded"):
        model(**padded)
    model.eval()
    assert model(**padded).logits.shape[:2] == (2, 3)


def test_an_unknown_architecture_is_refused(model):
    model.config.model_type = "gpt_odd"
    plugin = PaddingFree(concatenate=True, attention="auto", compile_layers=False, checkpoint_above=None, row_budget={})
    with pytest.raises(QsqlError, match="`gpt_odd`"):
        plugin.on_train_begin(None, None, None, model=model)


@pytest.mark.parametrize(
    ("special", "chosen"),
    [({}, "looped"), ({"attention_dropout": 0.1}, "masked"), ({"layer_types": ["sliding_attention"] * 2}, "masked")],
)
def test_what_the_row_attention_cannot_do_is_left_to_a_mask(model, special, chosen, capsys):
    for name, value in special.items():
        setattr(model.config, name, value)
    dataset = [{"input_ids": [1, 2], "labels": [IGNORED, 2]}] * 4
    loader = accelerate.Accelerator(cpu=True).prepare(torch.utils.data.DataLoader(dataset, batch_size=2))
    arguments = type("Arguments", (), {"use_cpu": True, "bf16": False, "fp16": False, "gradient_accumulation_steps": 1})
    plugins = [
        PaddingFree(concatenate=True, attention=kind, compile_layers=False, checkpoint_above=None, row_budget={})
        for kind in ("auto", "varlen")
    ]
    plugins[0].on_train_begin(arguments, None, None, model=model, train_dataloader=loader)
    assert f"without padding, {chosen} attention\n" in capsys.readouterr().out
    with pytest.raises(QsqlError, match="sliding windows" if special else "needs torch 2.10"):
        plugins[1].on_train_begin(arguments, None, None, model=model, train_dataloader=loader)
