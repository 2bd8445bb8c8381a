"""Python processes that this one starts. What lies in the current folder is data, and none of them imports it."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SAFE_PATH = "PYTHONSAFEPATH"
"""Since Python 3.11, what `-P` is for a process and all that it starts in turn."""


def python_command(*arguments: str) -> list[str]:
    """The command of another Python of this environment; Python 3.10 has no way to leave the current folder out."""
    return [sys.executable, *(["-P"] if sys.version_info >= (3, 11) else []), *arguments]


def child_environment() -> dict[str, str]:
    """The environment for a child process: neither it nor what it starts imports from the current folder."""
    environment = {**os.environ, SAFE_PATH: "1"}
    if "PYTHONPATH" in environment:
        # An empty entry, as a colon at the end leaves it, is the current folder.
        entries = [entry for entry in environment["PYTHONPATH"].split(os.pathsep) if entry]
        environment["PYTHONPATH"] = os.pathsep.join(entries)
        if not entries:
            del environment["PYTHONPATH"]
    return environment


@contextmanager
def safe_path() -> Iterator[None]:
    """Let processes that libraries start meanwhile have the environment of a child."""
    before = {name: os.environ.get(name) for name in (SAFE_PATH, "PYTHONPATH")}
    ours = child_environment()
    try:
        for name in before:
            _set(name, ours.get(name))
        yield
    finally:
        for name, value in before.items():
            _set(name, value)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
