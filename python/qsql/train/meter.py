"""Measures a training run from inside: exact seconds, tokens and memory at each logged step."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from qsql._core import QsqlError
from qsql.training_log import STEP_LOG

if TYPE_CHECKING:
    from pathlib import Path


class Meter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped where it is not installed
    """Writes a line to `steps.jsonl` whenever a training loss is logged.

    A line holds the step, the loss, the norm of the gradient before clipping, the seconds since training began, the
    tokens seen by all processes (where the configuration counts them) and the peak of the memory that tensors took on
    this GPU. Logging a loss waits for the GPU, so the seconds are true without waiting any further.
    """

    def __init__(self, run_directory: Path) -> None:
        self._path = run_directory / STEP_LOG
        self._started = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Write a line.

        Raises:
            QsqlError: If the loss is not a number any more.
        """
        del control
        if not logs or "loss" not in logs:
            return
        # fp16 leaves out a step that overflows; else the weights are lost with the loss.
        if not math.isfinite(logs["loss"]) and not args.fp16:
            raise QsqlError(
                f"the loss is {logs['loss']} at step {state.global_step}\n"
                "hint: lower learning_rate or max_grad_norm; `--resume` goes on from the last checkpoint"
            )
        if not args.should_save:
            return
        entry: dict[str, Any] = {
            "step": state.global_step,
            "loss": float(logs["loss"]),
            "gradient_norm": float(logs["grad_norm"]) if logs.get("grad_norm") is not None else None,
            "seconds": round(time.perf_counter() - self._started, 4),
            "tokens": int(state.num_input_tokens_seen),
        }
        if torch.cuda.is_available():
            entry["allocated_bytes"] = torch.cuda.max_memory_allocated()
            entry["reserved_bytes"] = torch.cuda.max_memory_reserved()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
