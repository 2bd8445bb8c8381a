"""What all commands print with: notes on stderr, counts, a bar while something runs."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def count(number: int, noun: str) -> str:
    """Say how many of something there are."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def note(message: str) -> None:
    """Say something that is no result."""
    typer.echo(message, err=True)


def printable(text: str) -> str:
    """Text of models and databases: what would move the cursor or change colours is shown, not sent."""
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


class Update(Protocol):
    """Moves a bar."""

    def __call__(self, done: int, total: int, rate: str | None = None, label: str | None = None, /) -> object:
        """Show that `done` of `total` is done, how fast if not by `done`, and what is going on if that has changed."""


@contextmanager
def progress_bar(label: str) -> Iterator[Update | None]:
    """Show a bar on stderr while something runs, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None, rate="")

        def update(done: int, total: int, rate: str | None = None, label: str | None = None, /) -> None:
            if label is not None and label != bar.tasks[0].description:
                bar.reset(task, description=label)
            speed = bar.tasks[0].speed
            rate = rate if rate is not None else f"{speed:,.0f}/s" if speed else ""
            bar.update(task, completed=done, total=total, rate=rate)

        yield update


@contextmanager
def stage_bar() -> Iterator[Callable[[str, int, int], object] | None]:
    """Show on stderr which of several things is being done, and how much of it is, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def update(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total or None)

        yield update
