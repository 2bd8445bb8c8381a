"""The logs of a training run: LLaMA-Factory's trainer log, our times and execution accuracies; JSON lines by step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.files import open_file, parse_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TRAINER_LOG = "trainer_log.jsonl"
STEP_LOG = "steps.jsonl"
EXECUTION_LOG = "execution.jsonl"
ANSWERS_DIRECTORY = "validation"
"""Of `step-N.jsonl`, the answers behind a line of that log."""
TRAINER_STATE = "trainer_state.json"
"""What transformers leaves in a run and in each checkpoint: steps, tokens, the best checkpoint."""


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
            with open_file(self._path) as file:
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


def latest_by_step(entries: Sequence[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of `key`, in order; a step that was done again after resuming counts as it came out last."""
    values = {
        entry.get("current_steps", entry.get("step", 0)): float(entry[key])
        for entry in entries
        if entry.get(key) is not None
    }
    # A loss that is no number, or an infinite one, has no place in a picture.
    steps = sorted(step for step, value in values.items() if math.isfinite(value))
    return steps, [values[step] for step in steps]


def _parse(line: bytes) -> dict[str, Any] | None:
    """Parse a line; None for one that a killed process left half-written, which a resumed one has continued."""
    try:
        entry = parse_json(line.decode("utf-8"), "the line", "", allow_nan=True)
    except (QsqlError, UnicodeDecodeError):
        return None
    return entry if isinstance(entry, dict) else None
