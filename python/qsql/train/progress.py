"""How far a training run is, by the files it writes: LLaMA-Factory's trainer log and our execution accuracies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

TRAINER_LOG = "trainer_log.jsonl"
EXECUTION_LOG = "execution.jsonl"


@dataclass
class Progress:
    """The newest figures; None for what is not known yet."""

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
        self.tokens_per_second = entry.get("throughput", self.tokens_per_second)
        self.time_left = entry.get("remaining_time", self.time_left)

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


class LogReader:
    """Reads a file of JSON lines while another process appends to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def skip(self) -> None:
        """Leave out what is there already."""
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def new_entries(self) -> list[dict[str, Any]]:
        """Read the lines that were finished since the last call. A file that became shorter is read from its start."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                block = file.read()
        except FileNotFoundError:
            return []
        whole = block[: block.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [entry for line in whole.splitlines() if (entry := _parse(line)) is not None]


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read all finished lines of a log; none if there is no such file."""
    return LogReader(path).new_entries()


def latest_by_step(entries: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of `key`, in order; a step that was done again after resuming counts as it came out last."""
    values = {int(entry.get("current_steps", entry.get("step", 0))): entry[key] for entry in entries if key in entry}
    steps = sorted(values)
    return steps, [float(values[step]) for step in steps]


def _parse(line: bytes) -> dict[str, Any] | None:
    """Parse a line; None for one that a killed process left half-written, which a resumed one has continued."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
