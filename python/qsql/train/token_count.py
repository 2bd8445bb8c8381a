"""Counts the tokens of rows without padding by their length, which needs no answer of the GPU.

transformers counts on the GPU, after each batch, and waits for the sum: for the backward pass, that is. What comes next
could have been handed to the GPU by then, and it stands idle until that is made up for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

if TYPE_CHECKING:
    from collections.abc import Mapping


class TokenCount(TrainerCallback):  # type: ignore[misc]  # transformers is untyped where it is not installed
    """Keeps `num_input_tokens_seen`, where the configuration asks for it, at the steps where it is looked at."""

    def __init__(self) -> None:
        self._asked: Any = None
        self._own = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Begin to count. The trainer begins again where it looks for a batch size that fits."""
        del state, control
        self._own = 0
        if self._asked is None:
            self._asked = args.include_num_input_tokens_seen
            model.register_forward_pre_hook(self._count, with_kwargs=True)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the trainer from counting within the step."""
        del state, control
        args.include_num_input_tokens_seen = "no"

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Let the trainer log the tokens, after those of all processes since the last time have been added."""
        args.include_num_input_tokens_seen = self._asked
        self._add(args, state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Add them at the end of an epoch too, which configurations can log or save at."""
        self._add(args, state, control)

    def _add(self, args: Any, state: Any, control: Any) -> None:
        # These are the same in all processes, which meet here.
        looked_at = control.should_log or control.should_save or control.should_evaluate or control.should_training_stop
        if self._asked == "no" or not looked_at:
            return
        tokens = torch.tensor(self._own, device=args.device)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(tokens)
        state.num_input_tokens_seen += int(tokens)
        self._own = 0

    def _count(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        del args
        if module.training:
            self._own += kwargs["input_ids"].numel()
