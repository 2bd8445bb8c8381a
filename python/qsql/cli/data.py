"""`qsql data prepare` and `qsql data show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qsql._core import QsqlError
from qsql.cli.terminal import console, note, say, stage_bar

app = typer.Typer(
    help="Prepare training data: clean it, keep evaluation sets out of it, split it by schema.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("prepare")
def prepare_command(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="A folder of Spider or BIRD, a .json, .jsonl, .csv or .parquet file, or a data set on the hub.",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the data set.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the folder, whatever it holds but what is read.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings; options go before it.")] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Evaluation file, such as Spider's dev.json, to be kept out; may be repeated."
        ),
    ] = None,
    tables: Annotated[Path | None, typer.Option(help="tables.json, for sources that have only a db_id.")] = None,
    db: Annotated[Path | None, typer.Option(help="Folder of <db_id>/<db_id>.sqlite, to run the queries on.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder with tokenizer.json, or model on the hub; counts tokens.")
    ] = None,
    cutoff: Annotated[int | None, typer.Option(help="Most tokens of prompt and answer.  [2048]")] = None,
    keys: Annotated[bool | None, typer.Option("--keys/--no-keys", help="Write keys into schemas.  [no]")] = None,
    values: Annotated[int | None, typer.Option(help="Example values of each column in schemas.  [0]")] = None,
    evidence: Annotated[
        bool | None, typer.Option("--evidence/--no-evidence", help="Append BIRD's evidence to questions.  [yes]")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="STAGE", help="Stage to leave out; may be repeated.")
    ] = None,
    keep_empty_results: Annotated[
        bool | None,
        typer.Option("--keep-empty-results/--drop-empty-results", help="Keep queries that return nothing.  [drop]"),
    ] = None,
    validation: Annotated[float | None, typer.Option(help="Share of schemas held out.  [0.05]")] = None,
    seed: Annotated[int | None, typer.Option(help="Draws the schemas that are held out.  [0]")] = None,
    split: Annotated[str | None, typer.Option(help="Split of data sets on the hub.  [train]")] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of data sets on the hub.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Address of the hub or of a mirror.  [HF_ENDPOINT]")] = None,
) -> None:
    """Turn public sets into a clean, leak-free data set for training.

    Stages, in this order: encoding, empty, syntax, compile, execution, leakage, duplicate, near_duplicate, length.
    """
    from qsql.prepare import load_settings, prepare

    settings = load_settings(
        config,
        sources=sources,
        exclude=exclude,
        tables=None if tables is None else str(tables),
        db=None if db is None else str(db),
        tokenizer=tokenizer,
        cutoff=cutoff,
        keys=keys,
        values=values,
        evidence=evidence,
        skip=skip,
        keep_empty_results=keep_empty_results,
        validation=validation,
        seed=seed,
        split=split,
        revision=revision,
        endpoint=endpoint,
    )
    with stage_bar() as progress:
        try:
            report = prepare(settings, out, progress, overwrite=overwrite)
        except KeyboardInterrupt:
            note(f"interrupted; `{out}` is as it was")
            raise
    console().print(_stage_table(report))
    train, validation_side = report["train"], report["validation"]
    console().print(
        f"{train['rows']:,} examples on {train['schemas']:,} schemas for training, {validation_side['rows']:,} on "
        f"{validation_side['schemas']:,} for validation"
    )
    note(f"written to `{out}`; look at it with `qsql data show {out}`")
    if settings.tokenizer is None and "length" not in settings.skip:
        note("no tokenizer was given, so that lengths are not checked (`--tokenizer`)")
    if not settings.exclude and "leakage" not in settings.skip:
        note("no evaluation set was named, so that leakage is not checked (`--exclude`)")


@app.command("show")
def show_command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A prepared data set.")],
    *,
    index: Annotated[int | None, typer.Option(min=0, help="Show the example of this number, from 0.")] = None,
    validation: Annotated[bool, typer.Option("--validation", help="Of the validation side, not of training.")] = False,
    dropped: Annotated[str | None, typer.Option(metavar="STAGE", help="Show what this stage dropped.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many dropped examples to show.")] = 10,
) -> None:
    """Look at what was kept and what was dropped."""
    from qsql.prepare.output import TRAIN, VALIDATION, read_dropped, read_examples, read_report

    report = read_report(directory)
    if dropped is not None:
        _show_dropped(read_dropped(directory), dropped, limit, report)
    elif index is not None:
        name = VALIDATION if validation else TRAIN
        examples = read_examples(directory, name)
        if index >= len(examples):
            raise QsqlError(f"`{directory / name}` has {len(examples):,} examples\nhint: they are numbered from 0")
        _show_example(examples[index])
    else:
        _show_report(report)


def _stage_table(report: dict[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    for name in ("in", "dropped", "kept"):
        table.add_column(name, justify="right")
    table.add_column("reasons", overflow="fold")
    for stage in report["stages"]:
        found = report["dropped_examples"].get(stage["stage"], {"reasons": {}})
        table.add_row(
            stage["stage"],
            f"{stage['rows']:,}",
            f"{stage['dropped']:,}" if stage["is_on"] else "off",
            f"{stage['rows'] - stage['dropped']:,}",
            ", ".join(f"{reason} {count:,}" for reason, count in found["reasons"].items()),
        )
    return table


def _show_report(report: dict[str, Any]) -> None:
    from qsql.prepare.card import histogram

    console().print(_stage_table(report))
    found = report["statistics"]
    for name in ("hardness", "features"):
        shares = (f"{key} {count / max(1, found['rows']):.1%}" for key, count in found[name].items() if count)
        console().print(f"{name}: " + ", ".join(shares))
    if "tokens" in found:
        say("\ntokens of prompt and answer")
        say(histogram(found["tokens"], report["settings"]["cutoff"]))


def _show_example(example: dict[str, Any]) -> None:
    from rich.syntax import Syntax

    from qsql.visible import visible

    database = f", database {example['db_id']}" if example["db_id"] else ""
    console().print(f"{example['id']}{database}", style="dim")
    console().print(example["instruction"])
    console().print(Syntax(visible(example["output"]), "sql", background_color="default", word_wrap=True))


def _show_dropped(dropped: list[dict[str, Any]], stage: str, limit: int, report: dict[str, Any]) -> None:
    from qsql.prepare import STAGES
    from qsql.prepare.rows import place

    if stage not in STAGES:
        raise QsqlError(f"there is no stage `{stage}`\nhint: the stages are {', '.join(STAGES)}")
    found = [item for item in dropped if item["stage"] == stage]
    if not found:
        is_on = any(item["stage"] == stage and item["is_on"] for item in report["stages"])
        say(f"`{stage}` dropped nothing" if is_on else f"`{stage}` was off")
    for item in found[:limit]:
        where = place(item["source"], item["position"])
        database = f", database {item['db_id']}" if item["db_id"] else ""
        console().print(f"{where}{database}: {item['reason']}", style="bold")
        for name in ("detail", "question", "query"):
            console().print(f"  {name}: {item[name]}")
    if len(found) > limit:
        note(f"{len(found) - limit:,} more; `--limit {len(found)}` shows all")
