"""Files that others wrote: read as text, as JSON, and as JSON lines, with the same checks for all of them.

What cannot be used is a `QsqlError` that names the file and the line, or the entry of a JSON list: what is no file (a
pipe would wait for ever, a device might never end), what is not UTF-8, and JSON that is cut off, nested too deeply, of
another shape, or that readers disagree on. A byte-order mark at the start belongs to no content.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from typing import TYPE_CHECKING, Any, BinaryIO

from qsql._core import QsqlError
from qsql.shapes import ANY, Shape
from qsql.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEEPEST = 200
"""Lists and objects within each other in a JSON file that is read."""
LONGEST_NUMBER = 300
"""Characters of an integer in a JSON file; longer ones are no floats either, and take time by the square to read."""
CHECK_PATH = "check the path and its permissions"
_SPECIAL = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# The longer mark of UTF-32 begins with that of UTF-16.
_MARKS = ((b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_SURROGATE = re.compile("[\ud800-\udfff]")


def require_regular(path: Path) -> None:
    """See that a path to be read, if there is something, is a file and nothing else.

    Raises:
        QsqlError: If it is a directory, a pipe, a socket or a device.
    """
    if kind := _kind(path):
        hint = "give a file" if kind == "a directory" else "write its content to a file, and give that"
        raise QsqlError(f"cannot read `{path}`: it is {kind}, not a file\nhint: {hint}")


def require_writable(path: Path) -> None:
    """See that a path to be written, if there is something, is a file and nothing else.

    Raises:
        QsqlError: If it is a directory, a pipe, a socket or a device.
    """
    if kind := _kind(path):
        raise QsqlError(f"cannot write `{path}`: it is {kind}, not a file\nhint: name a file")


def _kind(path: Path) -> str | None:
    """Name what stands at a path, where that is no file."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    return next((kind for is_kind, kind in _SPECIAL if is_kind(mode)), None)


def open_file(path: Path) -> BinaryIO:
    """Open a file to read its bytes.

    Raises:
        QsqlError: If it is no file.
        OSError: If it cannot be opened.
    """
    # A pipe that nobody writes to would keep this waiting; a device may do something when it is opened.
    require_regular(path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    return open(descriptor, "rb")  # noqa: PTH123 - of the descriptor; the caller closes it


def read_bytes(path: Path, hint: str = CHECK_PATH) -> bytes:
    """Read a whole file.

    Raises:
        QsqlError: If it cannot be read, or is no file.
    """
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise QsqlError(f"cannot read `{path}`: {error.strerror}\nhint: {hint}") from None
    except ValueError as error:  # a null character in the path
        raise QsqlError(f"cannot read `{path}`: {error}\nhint: {hint}") from None
    except MemoryError:
        raise QsqlError(f"cannot read `{path}`: it is too large for the memory\nhint: split the file") from None


def read_text(path: Path, *, errors: str = "strict", hint: str = CHECK_PATH) -> str:
    r"""Read a text file, without a byte-order mark and with `\n` for all ends of lines.

    Args:
        path: The file.
        errors: What to do with bytes that are not UTF-8, as `bytes.decode` takes it.
        hint: What to do if the file cannot be read.

    Raises:
        QsqlError: If it cannot be read, is UTF-16 or UTF-32, or is not UTF-8 and `errors` is "strict".
    """
    return decode_text(read_bytes(path, hint), path, errors=errors)


def decode_text(data: bytes, path: Path, *, errors: str = "strict") -> str:
    """Decode the content of a file as `read_text` does.

    Raises:
        QsqlError: If it is UTF-16 or UTF-32, or is not UTF-8 and `errors` is "strict".
    """
    if encoding := _wide_encoding(data):
        raise QsqlError(
            f"`{path}` is {encoding}, not UTF-8\n"
            f"hint: convert the file, for instance with `iconv -f {encoding} -t UTF-8`"
        )
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors)
    except UnicodeDecodeError as error:
        line = data[: error.start + data.startswith(b"\xef\xbb\xbf") * 3].count(b"\n") + 1
        raise QsqlError(
            f"`{path}` line {line} is not valid UTF-8\n"
            "hint: convert the file, for instance with `iconv -f LATIN1 -t UTF-8`"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _wide_encoding(data: bytes) -> str | None:
    """Name the encoding of text whose characters take two or four bytes each; None if it is no such text."""
    if found := next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None):
        return found
    # Without a mark: of the first characters, which are ASCII in SQL and JSON, every other byte is zero.
    start = data[: 64 if len(data) >= 64 else len(data) & ~1]
    zeros = (start[::2].count(0), start[1::2].count(0))
    half = len(start) // 2
    return "UTF-16" if half and sorted(zeros) == [0, half] else None


def text_lines(text: str) -> list[str]:
    r"""Split at `\n` alone, as the official tool does; `str.splitlines` knows more ends of lines."""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def parse_json(text: str, place: str, hint: str, *, allow_nan: bool = False) -> Any:
    """Parse one JSON document.

    Args:
        text: The document.
        place: What to call it in messages, such as "`a.jsonl` line 3".
        hint: What to do if it is none.
        allow_nan: Take `NaN` and `Infinity`, which are no JSON, and which trainers log.

    Raises:
        QsqlError: If it is no JSON, is nested too deeply, has a number with very many digits, or a key twice.
    """
    real: Callable[[str], float] = float if allow_nan else _float
    constant: Callable[[str], float] = float if allow_nan else _refuse_constant
    try:
        value = json.loads(
            text, parse_int=_integer, parse_float=real, parse_constant=constant, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno} column {error.colno}"
        raise QsqlError(f"{place} is not JSON: {error.msg} at {where}\nhint: {hint}") from None
    except RecursionError:
        value = None
    except ValueError as error:
        raise QsqlError(f"{place} cannot be used: {error}\nhint: {hint}") from None
    else:
        if not _is_deep(text, value):
            return value
    raise QsqlError(f"{place} is nested more than {DEEPEST} deep\nhint: {hint}")


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{one_line(text, 30)} is too large a number")
    return value


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"it has an integer of {len(text):,} digits")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"it has the key `{one_line(twice, 60)}` twice in one object")
    return found


def _is_deep(text: str, value: Any) -> bool:
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        held = (outer.values() if isinstance(outer, dict) else outer for outer in level)
        level = [inner for values in held for inner in values if isinstance(inner, dict | list)]
    return bool(level)


def require_shape(value: Any, shape: Shape, place: str, hint: str) -> None:
    """See that a value has a shape.

    Raises:
        QsqlError: If it has another.
    """
    if fault := shape.fault(value):
        raise QsqlError(f"{place}: {fault}\nhint: {hint}")


def read_json(path: Path, shape: Shape = ANY, *, hint: str, allow_nan: bool = False) -> Any:
    """Read a JSON file of a shape.

    Raises:
        QsqlError: If it cannot be read, is no JSON as in `parse_json`, or has another shape.
    """
    value = parse_json(read_text(path, hint=hint), f"`{path}`", hint, allow_nan=allow_nan)
    require_shape(value, shape, f"`{path}`", hint)
    return value


def read_json_lines(path: Path, shape: Shape = ANY, *, hint: str) -> list[tuple[int, Any]]:
    """Read a file of JSON lines of a shape, with the number of each line from 1; blank lines are left out.

    Raises:
        QsqlError: If the file cannot be read, or a line is no JSON as in `parse_json` or has another shape.
    """
    items = []
    for number, line in enumerate(text_lines(read_text(path, hint=hint)), 1):
        if line.strip():
            place = f"`{path}` line {number}"
            value = parse_json(line, place, hint)
            require_shape(value, shape, place, hint)
            items.append((number, value))
    return items


def read_entries(path: Path, shape: Shape = ANY, *, hint: str) -> list[tuple[str, Any]]:
    """Read the entries of a JSON list, or of JSON lines where the name ends in `.jsonl`.

    Returns:
        What to call each in messages, "entry 3" of a list or "line 3" of lines, and the entry.

    Raises:
        QsqlError: As `read_json_lines` does, or if the document is no list.
    """
    if path.suffix == ".jsonl":
        return [(f"line {number}", item) for number, item in read_json_lines(path, shape, hint=hint)]
    document = read_json(path, hint=hint)
    if not isinstance(document, list):
        raise QsqlError(f"`{path}` is not a list\nhint: {hint}")
    entries = [(f"entry {number}", item) for number, item in enumerate(document, 1)]
    for place, item in entries:
        require_shape(item, shape, f"`{path}` {place}", hint)
    return entries


def dump_json(value: Any, *, indent: int | None = None) -> str:
    """Write JSON that is UTF-8: lone surrogates, which names of files may hold, are escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
