"""What people look at after a run: the summary as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = ("easy", "medium", "hard", "extra", "all")
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
    """Lay out a summary by difficulty. Columns for states that did not occur are left out."""
    levels = [level for level in LEVELS if level in summary]
    states = [state for state in _STATE_LABELS if summary["all"]["states"][state]]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("difficulty")
    for title in ("count", "execution %", "95% interval", *(_STATE_LABELS[state] for state in states)):
        table.add_column(title, justify="right")
    for level in levels:
        totals = summary[level]
        interval = totals["execution_interval"]
        table.add_row(
            level,
            str(totals["count"]),
            percent(totals["execution"]),
            "-" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}",
            *(str(totals["states"][state]) for state in states),
            style="bold" if level == "all" else None,
        )
    return table


def footer(summary: Mapping[str, Any]) -> str:
    """Say what the numbers rest on."""
    return (
        f"{summary['executions']:,} queries on {summary['databases']:,} databases in {summary['seconds']:.1f} s "
        f"({summary['threads']} threads)"
    )
