"""What people look at after a run: the summary as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from qsql.results import LEVELS

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATE_LABELS = {
    "sql_error": "SQL error",
    "timeout": "timeout",
    "too_large": "too large",
    "forbidden": "forbidden",
    "gold_error": "gold error",
    "missing": "missing",
}


def percent(share: float | None) -> str:
    """Write a share as a percentage, with `-` where there is none."""
    return "-" if share is None else f"{100 * share:.1f}"


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Lay out a summary by difficulty. Columns for what was not measured and states that did not occur are left out."""
    levels = [*LEVELS, "all", *(["joint_all"] if summary["joint_all"] else [])]
    metrics = [metric for metric in ("exact", "execution") if summary["all"][metric] is not None]
    states = [state for state in _STATE_LABELS if summary["all"]["states"][state]]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("difficulty", no_wrap=True)
    table.add_column("count", justify="right")
    for metric in metrics:
        table.add_column(f"{metric} %", justify="right", no_wrap=True)
        table.add_column("95%", justify="right", no_wrap=True)
    if "exact" in metrics and summary["all"]["rejected"]:
        table.add_column("not parsed", justify="right")
    for state in states:
        table.add_column(_STATE_LABELS[state], justify="right")
    for level in levels:
        totals = summary[level]
        cells = [str(totals["count"])]
        for metric in metrics:
            interval = totals[f"{metric}_interval"]
            cells += [percent(totals[metric]), "" if interval is None else "-".join(map(percent, interval))]
        if "exact" in metrics and summary["all"]["rejected"]:
            cells.append(str(totals.get("rejected", "")))
        cells += [str(totals["states"][state]) if "states" in totals else "" for state in states]
        table.add_row(level, *cells, style="bold" if level == "all" else None)
    return table


def footer(summary: Mapping[str, Any]) -> str:
    """Say what the numbers rest on."""
    return (
        f"{summary['executions']:,} queries on {summary['databases']:,} databases in {summary['seconds']:.1f} s "
        f"({summary['threads']} threads)"
    )
