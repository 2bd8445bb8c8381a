"""Runs against a first run on the same golds: how much they differ, on which examples, and whether by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from qsql._core import QsqlError
from qsql.outputs import is_page, require_file
from qsql.records import LEVELS
from qsql.report import charts
from qsql.report.page import (
    Figure,
    Page,
    PageTable,
    Section,
    examples_data,
    footer,
    run_names,
    write_page,
)
from qsql.report.statistics import RESAMPLES, Paired, paired
from qsql.report.tables import new_table, percent
from qsql.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from qsql.report.run import Item, Run

_RULES = ("plug_value", "keep_distinct", "credit_empty")
_LIMITS = ("timeout", "max_steps", "max_memory")
METHOD = (
    f"Differences in percentage points; intervals at 95% by the paired bootstrap ({RESAMPLES:,} resamples); p by "
    "McNemar's exact test, two-sided, of each comparison by itself."
)


@dataclass(frozen=True)
class Comparison:
    """A run against the first one."""

    first: Run
    second: Run
    names: tuple[str, str]
    levels: dict[str, dict[str, Paired]]
    """Metric -> level -> how they compare."""

    def changed(self, metric: str, *, won: bool) -> list[tuple[Item, Item]]:
        """The examples that the second run has won or lost."""
        pairs = zip(self.first.items, self.second.items, strict=True)
        return [(a, b) for a, b in pairs if (a.verdict[metric], b.verdict[metric]) == (not won, won)]


def compare(runs: Sequence[Run]) -> list[Comparison]:
    """Compare each run with the first.

    Raises:
        QsqlError: If two runs are not over the same golds, databases and rules, or have no metric in common.
    """
    names = run_names(runs)
    comparisons = []
    for second, name in zip(runs[1:], names[1:], strict=True):
        reason = why_not(runs[0], second)
        if reason is not None:
            raise QsqlError(f"`{runs[0].directory}` and `{second.directory}` cannot be compared: {reason}")
        levels = {
            metric: {
                level: paired(*(_verdicts(run, level, metric) for run in (runs[0], second)))
                for level in (*LEVELS, "all")
            }
            for metric in runs[0].metrics
            if metric in second.metrics
        }
        comparisons.append(Comparison(runs[0], second, (names[0], name), levels))
    return comparisons


def why_not(first: Run, second: Run) -> str | None:
    """Say why two runs cannot be compared, with a hint; None if they can."""
    return _other_golds(first, second) or _other_databases(first, second) or _other_rules(first, second)


def _other_golds(first: Run, second: Run) -> str | None:
    if len(first.items) != len(second.items):
        return f"{len(first.items):,} golds and {len(second.items):,}\nhint: score both against the same golds"
    for a, b in zip(first.items, second.items, strict=True):
        if (a.id, a.db_id, a.gold) != (b.id, b.db_id, b.gold):
            return (
                f"their golds differ, first in example `{a.id}` (`{one_line(a.gold, 60)}` on {a.db_id}) and `{b.id}` "
                f"(`{one_line(b.gold, 60)}` on {b.db_id})\nhint: score both against the same golds"
            )
    return None


def _other_databases(first: Run, second: Run) -> str | None:
    hashes = [run.evaluation["sha256"] for run in (first, second)]
    for db_id, digest in hashes[0]["suites"].items():
        if hashes[1]["suites"].get(db_id) != digest:
            return f"database `{db_id}` or its variants differ\nhint: score both on the same databases"
    if hashes[0]["tables"] != hashes[1]["tables"] and "exact" in first.metrics and "exact" in second.metrics:
        return "their `tables.json` differ, on which exact match depends\nhint: give both the same `--table`"
    return None


def _other_rules(first: Run, second: Run) -> str | None:
    for rule in _RULES:
        values = [run.settings[rule] for run in (first, second)]
        if values[0] != values[1]:
            return f"`{rule}` is {values[0]} in one and {values[1]} in the other\nhint: score both by the same rules"
    if not set(first.metrics) & set(second.metrics):
        return "they measure nothing in common\nhint: score both with `--etype all`"
    return None


def warnings(runs: Sequence[Run]) -> list[str]:
    """What may make a difference besides the predictions, though it rarely does."""
    limits = {f"`{name}` differs": {str(run.settings[name]) for run in runs} for name in _LIMITS}
    versions = {
        f"versions of {name} differ": {run.evaluation["versions"][name] for run in runs} for name in ("qsql", "sqlite")
    }
    differing = limits | versions
    found = [f"{label}: {', '.join(sorted(values))}" for label, values in differing.items() if len(values) > 1]
    if runs[0].summary["joint_all"]:
        found.append("turns of an interaction are compared as if each stood alone, so that intervals are too narrow")
    return found


def _verdicts(run: Run, level: str, metric: str) -> list[bool | None]:
    return [item.verdict[metric] for item in run.items if level in ("all", item.verdict["hardness"])]


def points(value: float | None) -> str:
    """Write a difference of shares in percentage points, with its sign."""
    return "-" if value is None else f"{100 * value:+.1f}".replace("-0.0", "+0.0").replace("+0.0", "0.0")


def p_text(value: float | None) -> str:
    """Write a p-value."""
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def verdict_text(comparison: Comparison, metric: str) -> str:
    """Say in words what the comparison of all examples comes to."""
    found = comparison.levels[metric]["all"]
    name = "exact match" if metric == "exact" else "execution"
    if found.p_value is None or found.difference is None:
        return f"{name}: nothing to compare"
    if found.won == found.lost == 0:
        return f"{name}: no difference, the same {found.count:,} verdicts"
    counts = f"{found.won:,} won, {found.lost:,} lost, p {p_text(found.p_value)}"
    if found.p_value >= 0.05:
        return f"{name}: no significant difference ({counts})"
    better = comparison.names[found.difference > 0]
    return f"{name}: {better} is better by {abs(100 * found.difference):.1f} points ({counts})"


def comparison_rows(comparison: Comparison, metric: str) -> list[list[str]]:
    """Lay out a comparison by difficulty: what the header of `HEADER` says."""
    return [
        [
            level,
            f"{found.count:,}",
            percent(found.first),
            percent(found.second),
            points(found.difference),
            "" if found.interval is None else " to ".join(map(points, found.interval)),
            p_text(found.p_value),
            f"{found.won:,}",
            f"{found.lost:,}",
        ]
        for level, found in comparison.levels[metric].items()
    ]


HEADER = ("level", "count", "A %", "B %", "B - A", "95% interval", "p", "won", "lost")


def comparison_text(comparisons: Sequence[Comparison], limit: int) -> RenderableType:
    """Lay out comparisons for the terminal, with at most `limit` examples that were won and lost in each."""
    parts: list[RenderableType] = []
    for comparison in comparisons:
        parts.append(Text.assemble(("A ", "bold"), comparison.names[0], ("   B ", "bold"), comparison.names[1]))
        for metric in comparison.levels:
            parts += ["", Text(verdict_text(comparison, metric), style="bold")]
            table = new_table()
            for name in HEADER:
                table.add_column(name, justify="left" if name == "level" else "right", no_wrap=True)
            for row in comparison_rows(comparison, metric):
                table.add_row(*row, style="bold" if row[0] == "all" else None)
            parts.append(table)
        metric = next(reversed(comparison.levels))
        for label, won in (("won", True), ("lost", False)):
            changed = comparison.changed(metric, won=won)
            if changed:
                parts += ["", _examples(f"{label} by B ({metric})", changed, limit)]
        parts.append("")
    parts.append(Text(METHOD, style="dim"))
    return Group(*parts)


def _examples(title: str, changed: Sequence[tuple[Item, Item]], limit: int) -> RenderableType:
    table = new_table()
    table.add_column("id", no_wrap=True)
    table.add_column("database", no_wrap=True)
    table.add_column(title, overflow="fold")
    for item, _ in changed[:limit]:
        text = item.gold if item.question is None else item.question
        table.add_row(Text(one_line(item.id, 12)), Text(one_line(item.db_id, 20)), Text(one_line(text)))
    if len(changed) > limit:
        table.add_row("...", "", f"{len(changed) - limit:,} more; `--limit {len(changed)}` shows all")
    return table


def write_comparison(
    runs: Sequence[Run],
    comparisons: Sequence[Comparison],
    path: Path,
    progress: Callable[[str, int, int], object] | None = None,
    *,
    overwrite: bool = False,
) -> list[str]:
    """Write the page of a comparison; arguments as for `write_report`.

    Returns:
        What the page lacks, and why.

    Raises:
        QsqlError: If the extra `report` is not installed, or the file may not be written.
    """
    inputs = [path for run in runs for path in run.inputs()]
    require_file(path, "page", is_page, inputs, overwrite=overwrite)
    data, problems = examples_data(runs, progress)
    names = run_names(runs)
    facts = [("first run (A)", names[0])]
    facts += [("against it (B)", name) for name in names[1:]]
    facts.append(("examples", f"{len(runs[0].items):,}"))
    sections = [_section(comparison, several=len(comparisons) > 1) for comparison in comparisons]
    page = Page(f"Comparison: {' and '.join(names)}", facts, sections, footer(), [*problems, *warnings(runs)])
    write_page(page, data, path)
    return problems


def _section(comparison: Comparison, *, several: bool) -> Section:
    rows: list[list[str]] = []
    drawn: list[dict[str, Any]] = []
    for metric, levels in comparison.levels.items():
        rows += [[f"{row[0]} ({metric})", *row[1:]] for row in comparison_rows(comparison, metric)]
        drawn += [
            {"level": level, "metric": metric, "difference": found.difference, "interval": found.interval}
            for level, found in levels.items()
            if found.interval is not None
        ]
    title = f"{comparison.names[1]} against {comparison.names[0]}" if several else "By difficulty"
    figures = [Figure(charts.differences_chart(drawn), "B minus A, with 95% intervals")] if drawn else []
    notes = [*(verdict_text(comparison, metric) for metric in comparison.levels), METHOD]
    return Section(title, [PageTable(HEADER, rows)], figures, notes)
