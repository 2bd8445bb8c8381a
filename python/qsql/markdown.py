"""Markdown from text that nobody trusts: tables, cells, code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qsql.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def cell(text: str) -> str:
    """Write text on one line, with what Markdown or HTML would take for their own escaped."""
    line = one_line(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    # Addresses become links without any mark.
    line = re.sub(r"(?i)\b(https?|ftp)(?=://)|\b(www)(?=\.)", lambda match: f"{match[0]}\\", line)
    return re.sub(r"([|`*_~$\[\]])", r"\\\1", line)


def code(text: str) -> str:
    """Write text of one line as code, for a cell; nothing if there is none."""
    line = one_line(text)
    if not line:
        return ""
    if "\\" in line and "|" in line:
        # Readers disagree on whether a backslash before an escaped bar is code.
        return f"<code>{cell(line)}</code>"
    line = line.replace("|", "\\|")
    # A code span may hold backticks if it is fenced by more of them.
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out rows of cells, which are Markdown already."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
