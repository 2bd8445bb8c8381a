"""Names of files as others wrote them: whether they stay below a folder."""

from __future__ import annotations

from pathlib import PureWindowsPath


def is_inside(name: str) -> bool:
    """Whether a name is a path below the folder that it is looked up in, on every system and as it is written.

    Links are not followed: who may place a link may read what it leads to.
    """
    on_windows = PureWindowsPath(name)
    if on_windows.drive or on_windows.root or "\\" in name or not name.isprintable():
        return False
    # Windows leaves out periods and spaces at the end of a name.
    return all(part and part == part.rstrip(". ") for part in name.split("/"))
