"""`qsql report`, `qsql compare`, `qsql explain` and `qsql card`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qsql.cli.terminal import console, note, stage_bar, write_out


def report_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory that `qsql eval` wrote.")],
    *,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page that works offline.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, whatever it holds but what is read.")
    ] = False,
    db: Annotated[Path | None, typer.Option(help="Folder of the databases, if they have moved.")] = None,
    train_run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Training run, for its learning curves in the page.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Databases to show in the terminal.")] = 10,
) -> None:
    """Show where a run is right and where it fails, here or as a page."""
    from qsql.report.run import read_run
    from qsql.report.tables import report

    found = read_run(run, db)
    if html is None:
        console().print(report(found, limit))
        return
    from qsql.report.page import write_report

    with stage_bar() as progress:
        problems = write_report(found, html, train_run, progress, overwrite=overwrite)
    for problem in problems:
        note(f"warning: {problem}")
    note(f"written to `{html}`")


def compare_command(
    runs: Annotated[list[Path], typer.Argument(metavar="A B...", help="Run directories; each is compared with A.")],
    *,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page that works offline.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, whatever it holds but what is read.")
    ] = False,
    db: Annotated[Path | None, typer.Option(help="Folder of the databases, if they have moved.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Won and lost examples to show in the terminal.")] = 10,
) -> None:
    """Tell whether runs on the same golds differ by more than chance, and on which examples."""
    from qsql.report.compare import compare, comparison_text, warnings, write_comparison
    from qsql.report.run import read_run

    if len(runs) < 2:
        raise typer.BadParameter("give two runs or more")
    found = [read_run(run, db) for run in runs]
    comparisons = compare(found)
    for warning in warnings(found):
        note(f"warning: {warning}")
    if html is None:
        console().print(comparison_text(comparisons, limit))
        return
    with stage_bar() as progress:
        problems = write_comparison(found, comparisons, html, progress, overwrite=overwrite)
    for problem in problems:
        note(f"warning: {problem}")
    note(f"written to `{html}`")


def explain_command(
    *,
    gold: Annotated[str, typer.Option(metavar="SQL", help="The query that is right.")],
    pred: Annotated[str, typer.Option(metavar="SQL", help="The prediction.")],
    db: Annotated[Path, typer.Option(help="A .sqlite file, or a folder with a database and its variants.")],
    keep_distinct: Annotated[
        bool, typer.Option("--keep_distinct", "--keep-distinct", help="Keep DISTINCT; officially it is removed.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds for one query on one database.")] = 30.0,
) -> None:
    """Tell why one prediction is right or wrong."""
    from qsql.report.explain import explain, explanation_text

    found = explain(gold, pred, db, keep_distinct=keep_distinct, timeout=timeout)
    console().print(explanation_text(found))


def card_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory that `qsql eval` wrote.")],
    *,
    train_run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Training run, for setup, losses and curves.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the card there, not to stdout.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, whatever it holds but what is read.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the model; else that of its folder.")] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="ID", help="Evaluation set on the hub; else the name of the golds.")
    ] = None,
    license_: Annotated[str | None, typer.Option("--license", help="Licence of the model, by the hub's list.")] = None,
    base_model: Annotated[
        str | None, typer.Option(metavar="ID", help="Base model on the hub, where training names a folder.")
    ] = None,
) -> None:
    """Write a model card for the hub; what the runs do not tell is missing in it."""
    from qsql.report.card import CardSettings, model_card, write_card
    from qsql.report.curves import read_training
    from qsql.report.run import read_run

    training = None if train_run is None else read_training(train_run)
    found, settings = read_run(run), CardSettings(name, dataset, license_, base_model)
    if out is None:
        write_out(model_card(found, training, settings))
        return
    write_card(found, training, settings, out, overwrite=overwrite)
    note(f"written to `{out}`")
