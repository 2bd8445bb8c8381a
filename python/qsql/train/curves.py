"""Learning curves of a run as a PNG: loss, eval loss, learning rate and, where measured, execution accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsql.training_log import EXECUTION_LOG, TRAINER_LOG, latest_by_step, read_log

if TYPE_CHECKING:
    from pathlib import Path

CURVES = "curves.png"
ACCURACY = "execution accuracy"


def draw_curves(run_directory: Path, best_step: int | None = None) -> Path | None:
    """Draw what the logs of a run hold, and mark the step of the best checkpoint.

    Returns:
        The picture, or None if nothing was logged.

    Raises:
        ImportError: If matplotlib is not installed.
        OSError: If the picture cannot be written.
    """
    entries = read_log(run_directory / TRAINER_LOG)
    executions = read_log(run_directory / EXECUTION_LOG)
    panels = [
        (
            "loss",
            [("training", *latest_by_step(entries, "loss")), ("validation", *latest_by_step(entries, "eval_loss"))],
        ),
        (ACCURACY, [("validation sample", *latest_by_step(executions, "execution"))]),
        ("learning rate", [("", *latest_by_step(entries, "lr"))]),
    ]
    panels = [(title, [line for line in lines if line[1]]) for title, lines in panels]
    panels = [(title, lines) for title, lines in panels if lines]
    if not panels:
        return None
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and heavy
    from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: PLC0415

    figure = Figure(figsize=(8, 2.6 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, lines) in zip(axes, panels, strict=True):
        for label, steps, values in lines:
            axis.plot(steps, values, label=label, marker="o" if len(steps) < 40 else None, markersize=3)
        if best_step is not None:
            axis.axvline(best_step, color="grey", linestyle=":", label="best checkpoint")
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        if title == ACCURACY:
            axis.set_ylim(bottom=0)
            axis.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None))
        if any(label for label, *_ in lines):
            axis.legend()
    axes[-1].set_xlabel("step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    path = run_directory / CURVES
    figure.savefig(path, dpi=120)
    return path
