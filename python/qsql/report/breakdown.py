"""Totals of a run by what its golds are: where does it fail?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qsql import records, results
from qsql.features import FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsql.report.run import Item, Run

NO_FEATURE = "none of these"


def levels(run: Run) -> dict[str, dict[str, Any]]:
    """Totals by difficulty, and of all, as `summary.json` has them."""
    summary = run.summary
    names = [*records.LEVELS, "all", *(["joint_all"] if summary["joint_all"] else [])]
    return {name: summary[name] for name in names}


def turns(run: Run) -> dict[str, dict[str, Any]]:
    """Totals by turn where there are interactions, as `summary.json` has them."""
    if not run.summary["joint_all"]:
        return {}
    return {turn: run.summary[turn] for turn in records.TURNS if run.summary[turn]["count"]}


def by_database(run: Run) -> dict[str, dict[str, Any]]:
    """Totals of each database; those with most wrong predictions first."""
    groups: dict[str, list[Item]] = {}
    for item in run.items:
        groups.setdefault(item.db_id, []).append(item)
    totals = {db_id: _totals(items) for db_id, items in groups.items()}
    metric = run.metrics[-1] if run.metrics else "execution"
    return dict(sorted(totals.items(), key=lambda entry: (-_wrong(groups[entry[0]], metric), entry[0])))


def by_feature(run: Run) -> dict[str, dict[str, Any]]:
    """Totals of the golds that have each feature; a gold may have several."""
    groups: dict[str, list[Item]] = {name: [] for name in (*FEATURES, NO_FEATURE)}
    for item in run.items:
        for name in item.features or [NO_FEATURE]:
            groups[name].append(item)
    return {name: _totals(items) for name, items in groups.items() if items}


def _totals(items: Iterable[Item]) -> dict[str, Any]:
    return results.level_summary([item.verdict for item in items])


def _wrong(items: Iterable[Item], metric: str) -> int:
    return sum(item.verdict[metric] is False for item in items)
