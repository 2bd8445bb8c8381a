"""Untrusted text made fit to be written and looked at: queries, questions, names and cells may hold anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_CELL = 120
"""Characters of a cell that are shown."""
# Control characters drive terminals; characters that are not to be seen by default (Default_Ignorable_Code_Point in
# Unicode's DerivedCoreProperties.txt), separators of lines and annotations hide or reorder text (Unicode TR 36); lone
# surrogates stand for bytes that are not UTF-8, and the last two of each plane for no character.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
    + "".join(chr(plane << 16 | last) for plane in range(1, 17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_encodable(text: str) -> bool:
    """Tell whether a text has no lone surrogates, which JSON can write and UTF-8 cannot."""
    return text.isascii() or _SURROGATE.search(text) is None


def encodable(text: str) -> str:
    """Put the replacement character in the place of lone surrogates, which JSON can write and UTF-8 cannot."""
    return _SURROGATE.sub("\ufffd", text)


def visible(text: str) -> str:
    r"""Write characters that are not seen, or that do things, as escapes such as `\x1b`; tabs and newlines stay."""
    return _UNSEEN.sub(lambda match: _escape(match[0]), text.replace("\r\n", "\n"))


def one_line(text: str, width: int | None = None) -> str:
    """Write text on one line, cut to `width` characters."""
    line = visible(" ".join(text.split()))
    return line if width is None or len(line) <= width else line[: max(0, width - 3)] + "..."


def listed(names: Iterable[object], most: int = 10) -> str:
    """Name things in a sentence: at most so many, each on one line and cut, and how many more there are."""
    texts = [one_line(str(name), 60) for name in names]
    left_out = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + left_out


def literal(value: Any) -> str:
    """Write a cell as SQL would: `1` and `'1'` are not the same, nor are `NULL` and `'NULL'`."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        text = f"x'{value[: LONGEST_CELL // 2].hex()}'"
        return text if len(value) <= LONGEST_CELL // 2 else f"{text} and {len(value) - LONGEST_CELL // 2} bytes more"
    if isinstance(value, str):
        quoted = visible(value[:LONGEST_CELL]).replace("'", "''").replace("\n", "\\n").replace("\t", "\\t")
        more = f" and {len(value) - LONGEST_CELL} characters more" if len(value) > LONGEST_CELL else ""
        return f"'{quoted}'{more}"
    return repr(value)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
