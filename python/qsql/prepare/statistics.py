"""What prepared examples are like: lengths, difficulty, features of their queries, sizes of their schemas."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError, describe_definitions, hardness
from qsql.features import FEATURES, features_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsql.prepare.rows import Row

BIN = 128
"""Tokens in one bar of the histogram of lengths."""


def statistics(rows: Sequence[Row], lengths: Sequence[int] | None) -> dict[str, Any]:
    """Describe rows; `lengths` are their tokens, if they were counted."""
    tables = {schema: describe_definitions(schema) for schema in dict.fromkeys(row.schema for row in rows)}
    names = {
        schema: {table["name"]: [column for column, _, _ in table["columns"]] for table in described}
        for schema, described in tables.items()
    }
    levels = Counter(_level(row.query, names[row.schema]) for row in rows)
    features: Counter[str] = Counter()
    for row in rows:
        features.update(features_of(row.query))
    result: dict[str, Any] = {
        "rows": len(rows),
        "schemas": len(tables),
        "hardness": {level: levels[level] for level in ("easy", "medium", "hard", "extra", "not in Spider's grammar")},
        "features": {name: features[name] for name in FEATURES},
        "tables_per_schema": _sorted(Counter(len(described) for described in tables.values())),
    }
    if lengths is not None:
        ordered = sorted(lengths)
        result["tokens"] = {
            "mean": round(sum(ordered) / len(ordered), 1),
            "median": ordered[len(ordered) // 2],
            "p95": ordered[int(len(ordered) * 0.95)],
            "max": ordered[-1],
            "bin": BIN,
            "histogram": _sorted(Counter(length // BIN * BIN for length in lengths)),
        }
    return result


def _level(query: str, schema: dict[str, list[str]]) -> str:
    try:
        return hardness(query, schema)
    except QsqlError:
        # The grammar is Spider's; other sets go beyond it, and that is what is counted.
        return "not in Spider's grammar"


def _sorted(counts: Counter[int]) -> dict[str, int]:
    return {str(key): counts[key] for key in sorted(counts)}
