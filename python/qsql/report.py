"""What people look at after a run: the summary as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from qsql.results import LEVELS

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATES = {
    "sql_error": "rejected by SQLite",
    "timeout": "over time",
    "too_large": "too large",
    "forbidden": "forbidden",
    "gold_error": "with a gold that fails, in no share",
    "missing": "missing",
}


def percent(share: float | None) -> str:
    """Write a share as a percentage, with `-` where there is none."""
    return "-" if share is None else f"{100 * share:.1f}"


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Lay out a summary by difficulty, without columns for what was not measured."""
    levels = [*LEVELS, "all", *(["joint_all"] if summary["joint_all"] else [])]
    metrics = [metric for metric in ("exact", "execution") if summary["all"][metric] is not None]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("difficulty", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    for metric in metrics:
        table.add_column(f"{metric} %", justify="right", no_wrap=True)
        table.add_column("95% interval", justify="right", no_wrap=True)
    for level in levels:
        totals = summary[level]
        cells = [str(totals["count"])]
        for metric in metrics:
            interval = totals[f"{metric}_interval"]
            cells += [percent(totals[metric]), "" if interval is None else " to ".join(map(percent, interval))]
        table.add_row(level, *cells, style="bold" if level == "all" else None)
    return table


def outcome(summary: Mapping[str, Any]) -> str:
    """Say what became of the predictions that were not just compared, and how their canonical forms match."""
    totals = summary["all"]
    parts = [f"{totals['states'][state]} {label}" for state, label in _STATES.items() if totals["states"][state]]
    if totals["exact"] is not None and totals["rejected"]:
        parts.append(f"{totals['rejected']} not in Spider's grammar, which fails exact match")
    lines = [f"predictions: {', '.join(parts)}"] if parts else []
    if totals["canonical_exact"] is not None:
        lines.append(f"exact match of canonical forms: {percent(totals['canonical_exact'])} %")
    return "\n".join(lines)


def footer(summary: Mapping[str, Any]) -> str:
    """Say what the numbers rest on."""
    return (
        f"{summary['executions']:,} queries on {summary['databases']:,} databases in {summary['seconds']:.1f} s "
        f"({summary['threads']} threads)"
    )
