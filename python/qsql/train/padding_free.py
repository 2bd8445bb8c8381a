"""Batches without padding: the examples of a batch in one row, logits only where a token is trained.

The optimisation stays what it was: the same examples in each step, the same token-mean loss. What goes is padding, and
with it the choice between one example at a time, which leaves a GPU idle, and batches that are half padding. All of it
goes through public interfaces of transformers: position ids that start anew for each example, `logits_to_keep`, and a
registered attention function.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import torch
from accelerate.state import PartialState
from transformers import TrainerCallback
from transformers.modeling_layers import GradientCheckpointingLayer

from qsql._core import QsqlError
from qsql.train.balance import balance
from qsql.train.plan import ARCHITECTURES
from qsql.train.row_attention import can_attend, use_row_attention

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IGNORED = -100
"""The label of a token that is not trained."""
LENGTH_STEP = 2048
"""Of the length of the longest example that varlen attention is told, in tokens; the cutoff of the shipped recipes."""
USABLE_MEMORY = 0.94
"""Share of the GPU's memory that tensors may take; the rest is fragments and buffers of libraries."""


def concatenate(features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put examples into one row.

    Args:
        features: Examples with `input_ids` and `labels`, lists of equal length; `IGNORED` where nothing is trained.

    Returns:
        `input_ids`, `position_ids` and `labels` of shape (1, tokens); `logits_to_keep`, the positions before trained
        tokens, and `shift_labels`, what comes there, both of shape (trained,) and (1, trained); the bounds of the
        examples as varlen attention takes them.
    """
    input_ids: list[int] = []
    position_ids: list[int] = []
    labels: list[int] = []
    kept: list[int] = []
    bounds = [0]
    for feature in features:
        start, length = len(input_ids), len(feature["input_ids"])
        input_ids += feature["input_ids"]
        position_ids += range(length)
        # The first token of an example has nothing before it that could predict it.
        own = [IGNORED, *feature["labels"][1:]]
        labels += own
        kept += [start + position - 1 for position, label in enumerate(own) if label != IGNORED]
        bounds.append(start + length)
    cumulative = torch.tensor(bounds, dtype=torch.int32)
    longest = max(end - start for start, end in itertools.pairwise(bounds))
    # The kernel takes it as a bound. For each other one compiled layers are compiled again.
    longest = -(-longest // LENGTH_STEP) * LENGTH_STEP
    return {
        "input_ids": torch.tensor([input_ids]),
        "position_ids": torch.tensor([position_ids]),
        "labels": torch.tensor([labels]),
        "logits_to_keep": torch.tensor(kept, dtype=torch.long),
        "shift_labels": torch.tensor([[labels[position + 1] for position in kept]], dtype=torch.long),
        "cu_seq_lens_q": cumulative,
        "cu_seq_lens_k": cumulative,
        "max_length_q": longest,
        "max_length_k": longest,
        # With a cache, transformers takes the row for one example.
        "use_cache": False,
    }


class PaddingFree(TrainerCallback):  # type: ignore[misc]
    """Turns the training batches of a trainer into rows without padding, when training begins."""

    def __init__(
        self,
        *,
        concatenate: bool,
        attention: str,
        compile_layers: bool,
        checkpoint_above: int | None,
        row_budget: Mapping[str, int],
    ) -> None:
        """Take the options of `qsql train`; `row_budget` is that of the plan."""
        self._concatenate = concatenate
        self._attention = attention
        self._compile = compile_layers
        self._checkpoint_above = checkpoint_above
        self._row_budget = row_budget

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, train_dataloader: Any = None, **_: Any
    ) -> None:
        """Change batches and layers.

        Raises:
            QsqlError: If the model's architecture is not known to keep concatenated examples apart.
        """
        del state, control
        kind = getattr(model.config, "model_type", "")
        layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        if self._concatenate:
            if kind not in ARCHITECTURES:
                raise QsqlError(
                    f"examples cannot be concatenated for a model of type `{kind}`, only {', '.join(ARCHITECTURES)}\n"
                    "hint: train with `--padded`"
                )
            # accelerate wraps the loader that makes the batches; what is set on the wrapper, that one does not see.
            loader = getattr(train_dataloader, "base_dataloader", train_dataloader)
            loader.collate_fn = concatenate
            balanced = balance(loader, args.gradient_accumulation_steps)
            model.register_forward_pre_hook(refuse_padding, with_kwargs=True)
            attention = self._choose_attention(args, model.config)
            if attention != "masked":
                use_row_attention(model, attention)
            limit = self.row_limit(args)
            if limit is not None and any(layer.gradient_checkpointing for layer in layers):
                checkpoint_long_rows(model, layers, limit)
            rows = "batches without padding, as long on all GPUs" if balanced else "batches without padding"
            kept = "" if limit is None else f", activations kept up to {limit} tokens"
            PartialState().print(f"qsql: {rows}, {attention} attention{kept}")
        if self._compile:
            for layer in layers:
                layer.compile(dynamic=True)
            PartialState().print(f"qsql: {len(layers)} layers are compiled")

    def _choose_attention(self, args: Any, config: Any) -> Literal["varlen", "looped", "masked"]:
        if self._attention == "varlen" and not can_attend(config):
            raise QsqlError(
                "`--attention varlen` knows neither dropout of attention nor sliding windows, and the model has one\n"
                "hint: use `--attention masked`"
            )
        usable = (
            torch.cuda.is_available()
            and not args.use_cpu
            and (args.bf16 or args.fp16)
            and torch.cuda.get_device_capability() >= (8, 0)
            and tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 10)
        )
        if self._attention == "varlen" and not usable:
            raise QsqlError(
                "`--attention varlen` needs torch 2.10 or later, bf16 and a GPU of the Ampere generation or later\n"
                "hint: use `--attention masked`"
            )
        if self._attention == "masked" or not can_attend(config):
            return "masked"
        if usable:
            return "varlen"
        # Of compiled layers there would be one for each number of examples.
        return "looped" if args.use_cpu and not self._compile else "masked"

    def row_limit(self, args: Any) -> int | None:
        """Tokens of a row whose activations can be kept; None if all are handled as the configuration says."""
        if self._checkpoint_above is not None:
            return self._checkpoint_above
        if args.use_cpu or not torch.cuda.is_available() or not self._row_budget:
            return None
        memory = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        room = USABLE_MEMORY * memory - self._row_budget["static_bytes"]
        return max(0, int(room / self._row_budget["bytes_per_token"]))


def refuse_padding(module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """See that what is trained on is what `concatenate` made.

    Raises:
        QsqlError: If the trainer got its batches elsewhere.
    """
    del args
    if module.training and "cu_seq_lens_q" not in kwargs:
        raise QsqlError(
            "the trainer's batches are padded, though they were to be concatenated\n"
            "hint: train with `--padded`, and report the versions of accelerate and transformers"
        )


def checkpoint_long_rows(model: torch.nn.Module, layers: Sequence[Any], limit: int) -> None:
    """Recompute activations only in rows of more than `limit` tokens, in which they would not fit."""

    def choose(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args
        input_ids = kwargs.get("input_ids")
        if module.training and input_ids is not None:
            for layer in layers:
                layer.gradient_checkpointing = input_ids.numel() > limit

    model.register_forward_pre_hook(choose, with_kwargs=True)
