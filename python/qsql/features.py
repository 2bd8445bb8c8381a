"""Which features of SQL a query uses, told from its text: data sets and results are broken down by them."""

from __future__ import annotations

import re

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


def features_of(query: str) -> list[str]:
    """Name the features that a query has, in the order of `FEATURES`."""
    plain = _QUOTED.sub("''", query)
    return [name for name, pattern in _PATTERNS.items() if pattern.search(plain)]
