"""What a command may write over: one rule for every command and every path that it is given.

1. What a command reads is never replaced, whatever path leads to it, and no file takes a name that a run needs.
2. Whatever else is there stays, unless qsql wrote it and writes its like again: a page or a card in the place of
   another, a data set in the place of another, a run in the place of one of the same inputs. What was edited since is
   not what qsql wrote.
3. `--overwrite` (`overwrite_output_dir` of a training run) lifts the second part, and only that.

All of it is checked before any work begins. An empty file is nothing.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from qsql._core import QsqlError
from qsql.files import require_writable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_HASH = re.compile(r"<!-- qsql card; SHA-256 of the text above: ([0-9a-f]{64}) -->\n\Z")
_GENERATOR = re.compile(rb'<meta name="generator" content="qsql [^"]*">')
_HEAD = 4096
"""Bytes from the start of a page in which it says what made it."""


def is_same(path: Path, other: Path) -> bool:
    """Tell whether two paths lead to the same file or folder: by links, in another spelling, or as one new name."""
    try:
        return path.samefile(other)
    except OSError:
        pass
    # Neither is there. Some file systems take names of another case for the same.
    try:
        return path.parent.samefile(other.parent) and path.name.casefold() == other.name.casefold()
    except OSError:
        return False


def refuse_inputs(path: Path, inputs: Iterable[Path]) -> None:
    """See that a path is none of the inputs, nor something that is there within a folder of them.

    Raises:
        QsqlError: If it is.
    """
    for known in inputs:
        is_within = known.is_dir() and path.exists() and path.resolve().is_relative_to(known.resolve())
        if is_same(path, known) or is_within:
            shown = f"`{path}` is read" if path == known else f"`{path}` is `{known}`, which is read"
            raise QsqlError(
                f"{f'`{path}` is in `{known}`, which is read' if is_within else shown}, and would be lost\n"
                "hint: name another place to write to"
            )


def is_occupied(path: Path) -> bool:
    """Tell whether there is something at a path that could be lost.

    Raises:
        QsqlError: If it cannot be replaced by a file: a folder, or a device.
    """
    try:
        if not path.exists():
            return False
        if path.is_file():
            return path.stat().st_size > 0
    except OSError as error:
        raise QsqlError(f"cannot look at `{path}`: {error.strerror}\nhint: name another place to write to") from None
    require_writable(path)
    return True


def require_file(
    path: Path, noun: str, is_ours: Callable[[Path], bool], inputs: Iterable[Path], *, overwrite: bool = False
) -> None:
    """See that a file may be written.

    Args:
        path: Where.
        noun: What is written, such as "page of a report".
        is_ours: Tells whether a file is one that qsql wrote, as it wrote it.
        inputs: Files that the command reads or that belong to what it reads, and folders of them.
        overwrite: Whether the user wants anything replaced that is no input.

    Raises:
        QsqlError: If it may not.
    """
    refuse_inputs(path, inputs)
    if is_occupied(path) and not overwrite and not is_ours(path):
        raise QsqlError(
            f"`{path}` exists and is no {noun} as qsql wrote it\n"
            "hint: name another file, or replace this one with `--overwrite`"
        )


def is_page(path: Path) -> bool:
    """Tell whether a file is a page that qsql wrote."""
    try:
        with path.open("rb") as file:
            return _GENERATOR.search(file.read(_HEAD)) is not None
    except OSError:
        return False


def seal_card(text: str) -> str:
    """Write the hash of a card below it, so that one that was edited is known."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{text}<!-- qsql card; SHA-256 of the text above: {digest} -->\n"


def is_card(path: Path) -> bool:
    """Tell whether a file is a card that qsql wrote and nobody has edited since."""
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return False
    return (found := _HASH.search(text)) is not None and seal_card(text[: found.start()]) == text
