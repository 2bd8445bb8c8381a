"""`qsql eval` and `qsql demo`."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qsql._core import QsqlError
from qsql.cli.terminal import console, count, interrupted, note, progress_bar, say, write_out
from qsql.results import VERDICTS
from qsql.visible import listed, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsql.evaluate import Evaluation, Settings


SHOWN = 5
"""Items of a kind that are told one by one."""
LONGEST_REASON = 300
"""Characters of what is wrong with one."""
FENCE = "```"


class Metric(str, Enum):
    """What to measure."""

    all = "all"
    execution = "exec"
    match = "match"


class Format(str, Enum):
    """How to print the summary."""

    rich = "rich"
    official = "official"
    json = "json"


def evaluate_command(
    run_directory: Annotated[
        Path | None, typer.Argument(metavar="RUN_DIR", help="Run directory with predictions.jsonl; gets the results.")
    ] = None,
    *,
    pred: Annotated[
        Path | None, typer.Option(help="Predictions: one SQL a line, or .jsonl with sql and perhaps id.")
    ] = None,
    gold: Annotated[Path, typer.Option(help="Golds: sql<TAB>db_id lines, or Spider's JSON.")],
    db: Annotated[Path, typer.Option(help="Folder of <db_id>/<db_id>.sqlite, with any variants beside them.")],
    table: Annotated[Path | None, typer.Option(help="Spider's tables.json.")] = None,
    etype: Annotated[
        Metric | None,
        typer.Option(help="What to measure; all, but exec with --format official."),
    ] = None,
    plug_value: Annotated[
        bool, typer.Option("--plug_value", "--plug-value", help="Try the values of the gold in the prediction too.")
    ] = False,
    keep_distinct: Annotated[
        bool, typer.Option("--keep_distinct", "--keep-distinct", help="Keep DISTINCT; officially it is removed.")
    ] = False,
    progress_bar_for_each_datapoint: Annotated[
        bool,
        typer.Option(
            "--progress_bar_for_each_datapoint",
            "--progress-bar-for-each-datapoint",
            help="Accepted as the official tool has it; one bar shows all.",
        ),
    ] = False,
    credit_empty: Annotated[
        bool,
        typer.Option(
            "--credit-empty/--no-credit-empty", help="Count empty results right where the gold is empty everywhere."
        ),
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="Run directory for verdicts.jsonl, summary.json and run.json.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what the run directory holds, whatever it is.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; by default one per core.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for one query on one database.")] = 30.0,
    max_steps: Annotated[int, typer.Option(min=1, help="SQLite instructions for one query.")] = 1_000_000_000,
    max_memory: Annotated[int, typer.Option(min=1, metavar="MB", help="Memory for one query.")] = 128,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            help="Run all golds anew; else their results are kept in the user's cache directory, or QSQL_CACHE_DIR.",
        ),
    ] = False,
    format_: Annotated[Format, typer.Option("--format", help="How to print the summary.")] = Format.rich,
) -> None:
    """Score predictions by exact match and test-suite execution accuracy."""
    from qsql.directories import cache_directory
    from qsql.evaluate import Settings
    from qsql.results import PREDICTIONS

    del progress_bar_for_each_datapoint
    if etype is None:
        etype = Metric.execution if format_ is Format.official else Metric.all
    if (run_directory is None) == (pred is None):
        raise typer.BadParameter("give either a run directory or --pred")
    predictions = pred if pred is not None else Path(run_directory or "") / PREDICTIONS
    settings = Settings(
        gold,
        predictions,
        db,
        table,
        etype.value,
        plug_value=plug_value,
        keep_distinct=keep_distinct,
        credit_empty=credit_empty,
        threads=threads,
        timeout=timeout,
        max_steps=max_steps,
        max_memory=max_memory << 20,
        cache_dir=None if no_cache else cache_directory(),
    )
    evaluation = evaluate_and_warn(settings, out if out is not None else run_directory, overwrite=overwrite)
    _print(evaluation, format_, etype)
    if not evaluation.is_whole:
        raise typer.Exit(1)


def demo_command(
    directory: Annotated[Path, typer.Argument(help="Folder for the databases and the results.")] = Path("qsql-demo"),
) -> None:
    """Score two sets of predictions on a small data set that comes with qsql."""
    from qsql import demo
    from qsql.evaluate import Settings

    try:
        databases = demo.build(directory / "databases")
    except OSError as error:
        raise QsqlError(f"cannot write `{directory}`: {error.strerror}\nhint: choose another folder") from None
    for name, predictions in demo.PREDICTIONS.items():
        command = ["qsql", "eval", "--pred", str(predictions), "--gold", str(demo.GOLD), "--db", str(databases)]
        command += ["--table", str(demo.TABLES), "--out", str(directory / name)]
        say(f"$ {shlex.join(command)}\n")
        settings = Settings(demo.GOLD, predictions, databases, demo.TABLES)
        _print(evaluate_and_warn(settings, directory / name), Format.rich, Metric.all)
        say()


def evaluate_and_warn(
    settings: Settings, out: Path | None, *, overwrite: bool = False, show_progress: bool = True
) -> Evaluation:
    """Score, with a bar while it lasts, and tell on stderr what went wrong with single items."""
    from qsql.evaluate import Interrupted, evaluate

    with progress_bar("scoring") if show_progress else nullcontext() as progress:
        try:
            evaluation = evaluate(settings, out, sys.argv, progress, overwrite=overwrite)
        except Interrupted as interrupt:
            note(interrupted(interrupt.finished, interrupt.total, "example", out))
            raise
        except KeyboardInterrupt:
            note("interrupted; without `--out` nothing is kept" if out is None else "interrupted before scoring began")
            raise
    _warn(evaluation, settings, out)
    return evaluation


def _warn(evaluation: Evaluation, settings: Settings, out: Path | None) -> None:
    """Tell what went wrong with single items, of many only the first."""
    pairing = evaluation.pairing
    for reason in dict.fromkeys(reason for _, reason in evaluation.left_out):
        files = [f"`{Path(file.parent.name, file.name)}`" for file, why in evaluation.left_out if why == reason]
        number = f"{count(len(files), 'file')} beside databases ({listed(files, SHOWN)})"
        note(f"warning: {number}, {reason}: no variants, left out")
    if pairing.missing:
        number = count(len(pairing.missing), "gold")
        note(f"warning: no prediction for {number} (ids {listed(pairing.missing, SHOWN)}), which count as wrong")
    if pairing.undecodable:
        number, places = count(len(pairing.undecodable), "prediction"), listed(pairing.undecodable, SHOWN)
        note(
            f"warning: `{settings.predictions}` has {number} that no UTF-8 can write ({places}), which count as wrong\n"
            "hint: where another encoding was meant, convert the file, for instance with `iconv -f LATIN1 -t UTF-8`"
        )
    fenced = sum(prediction is not None and FENCE in prediction for prediction in pairing.predictions)
    if 2 * fenced > len(pairing.predictions):
        note(
            f"warning: {count(fenced, 'prediction')} of {len(pairing.predictions):,} hold code fences ({FENCE}), which "
            "are no SQL; predictions are scored as they stand\n"
            "hint: `qsql.prompt.extract_sql(answer)` finds the query in what a model answers; write what it returns"
        )
    if evaluation.summary["capped"]:
        number = count(evaluation.summary["capped"], "prediction")
        note(f"warning: not every way to plug values into {number} was tried")
    if evaluation.cache_problem:
        note(f"warning: {evaluation.cache_problem}; the next run will run all golds again")
    if pairing.surplus:
        note(f"warning: no gold for {count(pairing.surplus, 'prediction')}, not scored")
    _tell_databases(evaluation, out)
    rejected = [
        (example, verdict)
        for example, verdict in evaluation.items()
        if verdict["gold_rejected"] is not None
        and not _is_unreadable(verdict)
        and example.db_id not in evaluation.without_schema
    ]
    _tell_first(
        (
            f"warning: `{settings.gold}` {example.place}: Spider's grammar rejects the gold, "
            f"{one_line(verdict['gold_rejected'], LONGEST_REASON)}; it is scored by execution alone"
            for example, verdict in rejected
        ),
        f"warning: and {{}} likewise{_where(out)}",
        "gold",
    )
    _warn_of_golds(evaluation, settings, out)


def _tell_first(messages: Iterable[str], rest: str, noun: str) -> None:
    """Tell the first messages, and of the others in `rest` how many there are."""
    found = list(messages)
    for message in found[:SHOWN]:
        note(message)
    if len(found) > SHOWN:
        note(rest.format(count(len(found) - SHOWN, f"more {noun}")))


def _where(out: Path | None) -> str:
    return "" if out is None else f"; all are in `{out / VERDICTS}`"


def _warn_of_golds(evaluation: Evaluation, settings: Settings, out: Path | None) -> None:
    """Tell which golds fail, and what to do about it: what limits stop is not to be mended."""
    failing = [(example, verdict) for example, verdict in evaluation.gold_errors if not _is_unreadable(verdict)]
    if not failing:
        return
    reasons = [str(verdict["detail"]).removeprefix("gold: ") for _, verdict in failing]
    _tell_first(
        (
            f"error: `{settings.gold}` {example.place}: the gold fails on {verdict['failed_on']}: "
            f"{one_line(reason, LONGEST_REASON)}"
            for (example, verdict), reason in zip(failing, reasons, strict=True)
        ),
        f"error: and {{}}{_where(out)}",
        "gold",
    )
    left = len(failing)
    advice = []
    for option, value, reason in (
        ("--max-steps", f"{settings.max_steps:,}", "the budget of steps ran out"),
        ("--timeout", f"{settings.timeout:g} s", "the deadline passed"),
        ("--max-memory", f"{settings.max_memory >> 20:,} MB", "out of memory"),
    ):
        if stopped := sum(found.startswith(reason) for found in reasons):
            advice.append(f"raise `{option}`, now {value}, for {count(stopped, 'gold')}")
            left -= stopped
    if left:
        advice.append(f"mend {count(left, 'gold')} or the databases")
    note(f"hint: {'; '.join(advice)}; all other items are scored")


def _is_unreadable(verdict: dict[str, Any]) -> bool:
    from qsql.evaluate import UNREADABLE

    return verdict["state"] == "gold_error" and str(verdict["detail"]).startswith(UNREADABLE)


def _tell_databases(evaluation: Evaluation, out: Path | None) -> None:
    """Tell once of each database that cannot be read or not matched on, and how many items that concerns."""
    from qsql.evaluate import UNREADABLE

    concerned = Counter(example.db_id for example in evaluation.examples)
    more = f"error: and {{}} likewise{_where(out)}"

    def unreadable(db_id: str, problem: str) -> str:
        message, _, hint = problem.partition("\nhint: ")
        return f"error: {message}; {count(concerned[db_id], 'item')} of `{db_id}` cannot be scored\nhint: {hint}"

    _tell_first((unreadable(*found) for found in evaluation.unreadable.items()), more, "database")
    # Others could be opened at first: a variant that is damaged, or a file that has gone since.
    later = Counter(
        (example.db_id, verdict["failed_on"], str(verdict["detail"]).removeprefix(UNREADABLE))
        for example, verdict in evaluation.items()
        if _is_unreadable(verdict) and example.db_id not in evaluation.unreadable
    )
    _tell_first(
        (
            f"error: cannot read database `{file}` of `{db_id}`: {reason}; {count(number, 'item')} cannot be scored\n"
            "hint: mend the file or remove it, and run the command again"
            for (db_id, file, reason), number in later.items()
        ),
        more,
        "database",
    )
    _tell_first(
        (
            f"error: {problem}; {count(concerned[db_id], 'item')} of `{db_id}` cannot be matched exactly\n"
            "hint: add it to the file, leave out `--table`, or score with `--etype exec`"
            for db_id, problem in evaluation.without_schema.items()
        ),
        more,
        "database",
    )


def _print(evaluation: Evaluation, format_: Format, etype: Metric) -> None:
    if format_ is Format.official:
        from qsql.report.official import official_report

        write_out(official_report(evaluation.summary, etype.value))
        return
    if format_ is Format.json:
        say(json.dumps(evaluation.summary, indent=2))
        return
    from qsql.report.tables import footer, outcome, summary_table

    console().print(summary_table(evaluation.summary))
    if text := outcome(evaluation.summary):
        console().print(text)
    console().print(footer(evaluation.summary), style="dim")
