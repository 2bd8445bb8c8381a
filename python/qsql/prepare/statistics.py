"""What prepared examples are like: lengths, difficulty, features of their queries, sizes of their schemas."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError, describe_definitions, hardness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsql.prepare.rows import Row

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`")
FEATURES = {
    "join": r"\bjoin\b",
    "aggregate": r"\b(?:count|sum|avg|min|max)\s*\(",
    "group by": r"\bgroup\s+by\b",
    "having": r"\bhaving\b",
    "order by": r"\border\s+by\b",
    "limit": r"\blimit\b",
    "distinct": r"\bdistinct\b",
    "subquery": r"\(\s*select\b",
    "set operation": r"\b(?:union|intersect|except)\b",
    "like": r"\blike\b",
    "between": r"\bbetween\b",
    "case": r"\bcase\b",
    "common table": r"^\s*with\b",
    "window": r"\bover\s*\(",
}
"""Features of a query, and what tells them in its text without quoted parts."""
_PATTERNS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in FEATURES.items()}
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
        plain = _QUOTED.sub("''", row.query)
        features.update(name for name, pattern in _PATTERNS.items() if pattern.search(plain))
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
