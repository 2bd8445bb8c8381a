"""`qsql report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qsql.cli.terminal import note, stage_bar


def report_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory that `qsql eval` wrote.")],
    *,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page that works offline.")] = None,
    db: Annotated[Path | None, typer.Option(help="Folder of the databases, if they have moved.")] = None,
    train_run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Training run, for its learning curves in the page.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Databases to show in the terminal.")] = 10,
) -> None:
    """Show where a run is right and where it fails, here or as a page."""
    from rich.console import Console

    from qsql.report.run import read_run
    from qsql.report.tables import report

    found = read_run(run, db)
    if html is None:
        Console(highlight=False).print(report(found, limit))
        return
    from qsql.report.page import write_report

    with stage_bar() as progress:
        problems = write_report(found, html, train_run, progress)
    for problem in problems:
        note(f"warning: {problem}")
    note(f"written to `{html}`")
