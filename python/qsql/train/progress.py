"""How far a training run is, as one line for people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any


@dataclass
class Progress:
    """The newest figures; None for what is not known yet."""

    first_step: int = 0
    """Step of the checkpoint that the run goes on from."""
    first_tokens: int = 0
    """Tokens that were seen before it."""
    step: int = 0
    steps: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    execution: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    time_left: str | None = None

    def update(self, entry: dict[str, Any]) -> None:
        """Take over what an entry of one of the logs says."""
        self.step = int(entry.get("current_steps", entry.get("step", self.step)))
        self.steps = entry.get("total_steps", self.steps)
        self.loss = entry.get("loss", self.loss)
        self.eval_loss = entry.get("eval_loss", self.eval_loss)
        self.execution = entry.get("execution", self.execution)
        self.learning_rate = entry.get("lr", self.learning_rate)
        if "tokens" in entry:
            self._measure(entry["seconds"], entry["tokens"])

    def _measure(self, seconds: float, tokens: int) -> None:
        """Tell how fast it goes, and for how long, by the seconds since training began or went on."""
        done = self.step - self.first_step
        if seconds <= 0 or done <= 0:
            return
        self.tokens_per_second = (tokens - self.first_tokens) / seconds if tokens else None
        if self.steps is not None:
            self.time_left = str(timedelta(seconds=int((self.steps - self.step) * seconds / done)))

    def __str__(self) -> str:
        """One line, such as `step 40/3,500  loss 0.512  lr 5.0e-06  1,361 tokens/s  2:00:00 left`."""
        total = f"/{self.steps:,}" if self.steps is not None else ""
        parts = [f"step {self.step:,}{total}"]
        if self.loss is not None:
            parts.append(f"loss {self.loss:.4f}")
        if self.eval_loss is not None:
            parts.append(f"eval loss {self.eval_loss:.4f}")
        if self.execution is not None:
            parts.append(f"execution {100 * self.execution:.1f}%")
        if self.learning_rate is not None:
            parts.append(f"lr {self.learning_rate:.1e}")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:,.0f} tokens/s")
        if self.time_left is not None:
            parts.append(f"{self.time_left} left")
        return "  ".join(parts)
