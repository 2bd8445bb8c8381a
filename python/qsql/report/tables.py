"""Tables for the terminal, 80 columns wide and readable without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from qsql.records import COMPONENTS, LEVELS
from qsql.report.breakdown import by_database, by_feature, levels, turns
from qsql.visible import one_line, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from qsql.report.pair import Result, Results
    from qsql.report.run import Run

STATES = {
    "sql_error": "rejected by SQLite",
    "timeout": "over time",
    "too_large": "too large",
    "forbidden": "forbidden",
    "gold_error": "with a gold that fails, in no share",
    "missing": "missing",
}


_HALF = 40
"""Characters of half a terminal."""


def percent(share: float | None) -> str:
    """Write a share as a percentage, with `-` where there is none."""
    return "-" if share is None else f"{100 * share:.1f}"


def interval_text(interval: Sequence[float] | None) -> str:
    """Write a confidence interval of a share in percent."""
    return "" if interval is None else " to ".join(map(percent, interval))


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Lay out a summary by difficulty, without columns for what was not measured."""
    names = [*LEVELS, "all", *(["joint_all"] if summary["joint_all"] else [])]
    return totals_table("difficulty", {name: summary[name] for name in names}, summary)


def totals_table(title: str, totals: Mapping[str, Mapping[str, Any]], summary: Mapping[str, Any]) -> Table:
    """Lay out totals, one row each, without columns for what the summary says was not measured."""
    metrics = [metric for metric in ("exact", "execution") if summary["all"][metric] is not None]
    table = new_table()
    table.add_column(title, overflow="fold")
    table.add_column("count", justify="right", no_wrap=True)
    for metric in metrics:
        table.add_column(f"{metric} %", justify="right", no_wrap=True)
        table.add_column("95% interval", justify="right", no_wrap=True)
    for name, row in totals.items():
        cells = [str(row["count"])]
        for metric in metrics:
            cells += [percent(row[metric]), interval_text(row[f"{metric}_interval"])]
        table.add_row(Text(visible(name)), *cells, style="bold" if name == "all" else None)
    return table


def new_table() -> Table:
    """Make an empty table in the style of all of them."""
    return Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))


def outcome(summary: Mapping[str, Any]) -> str:
    """Say what became of the predictions that were not just compared, and how their canonical forms match."""
    totals = summary["all"]
    states = state_text(summary)
    lines = [f"predictions: {states}"] if states else []
    if totals["canonical_exact"] is not None:
        lines.append(f"exact match of canonical forms: {percent(totals['canonical_exact'])} %")
    return "\n".join(lines)


def state_text(summary: Mapping[str, Any]) -> str:
    """Count the predictions that were not just compared; nothing if there are none."""
    totals = summary["all"]
    parts = [f"{totals['states'][state]} {label}" for state, label in STATES.items() if totals["states"][state]]
    if totals["exact"] is not None and totals["rejected"]:
        parts.append(f"{totals['rejected']} not in Spider's grammar, which fails exact match")
    return ", ".join(parts)


def footer(summary: Mapping[str, Any]) -> str:
    """Say what the numbers rest on."""
    return (
        f"{summary['executions']:,} queries on {summary['databases']:,} databases in {summary['seconds']:.1f} s "
        f"({summary['threads']} threads)"
    )


def report(run: Run, limit: int) -> RenderableType:
    """Lay out a run: by difficulty, turn, component, feature and database, with at most `limit` databases."""
    summary = run.summary
    parts: list[RenderableType] = [totals_table("difficulty", levels(run), summary)]
    if text := outcome(summary):
        parts.append(Text(text))
    if rows := turns(run):
        parts += ["", totals_table("turn", rows, summary)]
    if summary["all"].get("partial"):
        parts += ["", component_table(summary["all"]["partial"])]
    parts += ["", totals_table("feature of the gold", by_feature(run), summary)]
    databases = by_database(run)
    shown = dict(list(databases.items())[:limit])
    parts += ["", totals_table("database", shown, summary)]
    if len(databases) > len(shown):
        parts.append(
            Text(f"{len(databases) - len(shown)} more with fewer mistakes; `--limit {len(databases)}` shows all")
        )
    parts += ["", Text(footer(summary), style="dim")]
    return Group(*parts)


def component_table(partial: Mapping[str, Mapping[str, float]]) -> Table:
    """Lay out the partial scores of exact match."""
    table = new_table()
    table.add_column("component", no_wrap=True)
    for name in ("accuracy %", "recall %", "F1 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for component in COMPONENTS:
        scores = partial[component]
        table.add_row(component, *(percent(scores[name]) for name in ("acc", "rec", "f1")))
    return table


def marked(pieces: Sequence[str]) -> Text:
    """Show a query with the pieces of its own marked, by underlining that is seen in black and white."""
    text = Text()
    for at, piece in enumerate(pieces):
        text.append(piece, style="bold underline" if at % 2 else None)
    return text


def side_by_side(results: Results) -> RenderableType:
    """Show what gold and prediction return, beside each other, or below where they are too wide for a terminal."""
    titles = (
        "the gold returns",
        "the same rows in another order" if results.are_reordered else "the prediction returns",
    )
    if max(_width(results.gold), _width(results.prediction)) > _HALF:
        tables = (_result_table(results.gold), _result_table(results.prediction))
        return Group(*(Group(Text(title, style="bold"), table) for title, table in zip(titles, tables, strict=True)))
    outer = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in titles:
        outer.add_column(title, ratio=1)
    outer.expand = True
    outer.add_row(_result_table(results.gold), _result_table(results.prediction))
    return outer


def _width(result: Result) -> int:
    rows = [result.columns, *result.rows]
    return sum(max(len(cell) for cell in column) + 2 for column in zip(*rows, strict=True)) + 3


def row_count(result: Result) -> str:
    """Say how many rows a result has, and which of them are shown."""
    count = f"{result.count:,}" if result.is_whole else f"more than {result.count:,}"
    text = f"{count} row{'' if result.count == 1 and result.is_whole else 's'}"
    if result.count > len(result.rows):
        text += f", of which {result.first + 1:,} to {result.first + len(result.rows):,}"
    if result.hidden_columns:
        text += f"; {result.hidden_columns} columns are not shown"
    return text


def _result_table(result: Result) -> RenderableType:
    if result.state != "ran":
        return Text(f"{result.state}: {result.detail}")
    table = new_table()
    table.add_column("")
    for name in result.columns:
        table.add_column(Text(one_line(name)), overflow="fold")
    for row, own in zip(result.rows, result.own, strict=True):
        table.add_row("*" if own else " ", *map(Text, row))
    return Group(table, Text(row_count(result), style="dim"))
