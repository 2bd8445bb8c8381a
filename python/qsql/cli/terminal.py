"""What all commands print with: notes on stderr, counts, tables, a bar while something runs.

Nothing else in the package writes to a terminal. Whatever comes from outside (names, cells, golds, answers of servers)
is made visible here, by `qsql.visible`, so that no command can forget it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import typer

from qsql.visible import LONGEST_CELL, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

LONGEST_BLOB = 32
"""Bytes of a cell that are shown."""
LONGEST_MESSAGE = 5000
"""Characters of a message that are shown."""


def count(number: int, noun: str) -> str:
    """Say how many of something there are."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def note(message: str) -> None:
    """Say something that is no result: on stderr, made visible, and cut where no one would read on.

    Where the terminal has gone, nobody is left to be told.
    """
    with suppress(OSError):
        typer.echo(visible(_cut(message)), err=True)


def interrupted(finished: int, total: int, noun: str, directory: object) -> str:
    """Say what an interrupted run has kept."""
    if finished == 0:
        return f"interrupted; none of {count(total, noun)} is finished yet, and the same command begins again"
    return (
        f"interrupted; the same command goes on from the {finished:,} of {count(total, noun)} that are finished in "
        f"`{directory}`"
    )


def say(line: str = "") -> None:
    """Say a result in words of ours, made visible."""
    typer.echo(visible(line))


def write_out(text: str) -> None:
    """Write a result that a program may read: as it is, but to a terminal made visible."""
    # Not `typer.echo`, which would take escapes out.
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)


def console(*, stderr: bool = False) -> Console:
    """Make what tables and colours are printed with. Text is no markup, and is made visible whatever it comes from."""
    from rich.console import Console
    from rich.segment import Segment

    class VisibleConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(visible(text), **options)

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                text = segment.text
                shown = text if segment.control or (text.isascii() and text.isprintable()) else visible(text)
                yield segment if shown == text else Segment(shown, segment.style)

    return VisibleConsole(stderr=stderr, markup=False, highlight=False, emoji=False)


def cell(value: float | str | bytes | None) -> str:
    """Write a cell for people: as it is, up to so many characters."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value[:LONGEST_BLOB].hex()}{'...' if len(value) > LONGEST_BLOB else ''}'"
    text = str(value)
    return visible(text[:LONGEST_CELL]) + _more(len(text) - LONGEST_CELL, "character")


def _cut(message: str) -> str:
    """Cut a message, and leave the hint at its end."""
    message, hint, remedy = message.partition("\nhint: ")
    return (
        message[:LONGEST_MESSAGE] + _more(len(message) - LONGEST_MESSAGE, "character") + hint + remedy[:LONGEST_MESSAGE]
    )


def _more(number: int, noun: str) -> str:
    return f" and {count(number, f'more {noun}')}" if number > 0 else ""


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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None, rate="")

        def update(done: int, total: int, rate: str | None = None, label: str | None = None, /) -> None:
            if label is not None and visible(label) != bar.tasks[0].description:
                bar.reset(task, description=visible(label))
            speed = bar.tasks[0].speed
            rate = rate if rate is not None else f"{speed:,.0f}/s" if speed else ""
            bar.update(task, completed=done, total=total, rate=visible(rate))

        yield update


@contextmanager
def stage_bar() -> Iterator[Callable[[str, int, int], object] | None]:
    """Show on stderr which of several things is being done, and how much of it is, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def update(stage: str, done: int, total: int) -> None:
            bar.update(task, description=visible(stage), completed=done, total=total or None)

        yield update
