"""Learning curves of a training run, from the logs in its directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qsql import files, records, results
from qsql._core import QsqlError
from qsql.training_log import EXECUTION_LOG, TRAINER_LOG, latest_by_step, read_log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qsql.shapes import Shape

ALL_RESULTS, CARD = "all_results.json", "README.md"
Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Training:
    """What the directory of a training run holds."""

    directory: Path
    record: dict[str, Any]
    """What `run.json` tells of the training."""
    panels: dict[str, dict[str, Curve]]
    """Title of a chart -> name of a line -> steps and values; without what was not measured."""
    totals: dict[str, Any]
    """`all_results.json`; empty where there is none."""
    executions: list[dict[str, Any]]
    """Lines of `execution.jsonl`: execution accuracy of checkpoints on the validation sample."""

    def inputs(self) -> list[Path]:
        """The files of the run, of which its card is none."""
        return [path for path in self.directory.iterdir() if path.is_file() and path.name != CARD]

    @property
    def best_step(self) -> int | None:
        """Step of the best checkpoint, if one was chosen."""
        step = self.record.get("outcome", {}).get("best_step")
        return None if step is None else int(step)


def read_training(directory: Path) -> Training:
    """Read a training run.

    Raises:
        QsqlError: If it is none, or a file cannot be read.
    """
    run = results.run_record(directory)
    if "training" not in run:
        raise QsqlError(
            f"`{directory}` is no training run: no `{results.RUN}` tells of training\n"
            "hint: give the `output_dir` of `qsql train`"
        )
    trainer, executions = (
        _entries(directory / name, shape)
        for name, shape in ((TRAINER_LOG, records.TRAINER_ENTRY), (EXECUTION_LOG, records.EXECUTION_ENTRY))
    )
    panels = {
        "loss": {"training": _curve(trainer, "loss"), "validation": _curve(trainer, "eval_loss")},
        "execution accuracy": {"validation sample": _curve(executions, "execution")},
        "learning rate": {"learning rate": _curve(trainer, "lr")},
    }
    panels = {title: {name: curve for name, curve in lines.items() if curve} for title, lines in panels.items()}
    totals = directory / ALL_RESULTS
    return Training(
        directory,
        run["training"],
        {title: lines for title, lines in panels.items() if lines},
        results.read_json(totals, records.TRAINING_TOTALS, allow_nan=True) if totals.is_file() else {},
        executions,
    )


def _entries(log: Path, shape: Shape) -> list[dict[str, Any]]:
    entries = read_log(log)
    for number, entry in enumerate(entries, 1):
        files.require_shape(entry, shape, f"`{log}` entry {number}", "remove the entry")
    return entries


def _curve(entries: Sequence[dict[str, Any]], key: str) -> Curve:
    return list(zip(*latest_by_step(entries, key), strict=True))
