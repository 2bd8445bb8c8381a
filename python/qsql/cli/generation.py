"""`qsql generate` and `qsql ask`."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qsql._core import QsqlError
from qsql.cli.terminal import cell, console, count, interrupted, note, progress_bar, say, write_out
from qsql.visible import LONGEST_CELL, one_line, visible

if TYPE_CHECKING:
    from qsql._core import QueryResult
    from qsql.generate import Generation
    from qsql.generate.ask import Answer


MOST_COLUMNS = 50
"""Columns of an answer that are shown."""
TRUST_HELP = "Let the model run code that comes with it; no file can say so."


class EngineName(str, Enum):
    """What runs the model."""

    transformers = "transformers"
    vllm = "vllm"
    openai = "openai"
    gold = "gold"


class Dtype(str, Enum):
    """Precision of the weights."""

    auto = "auto"
    bfloat16 = "bfloat16"
    float16 = "float16"
    float32 = "float32"


def generate_command(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [KEY=VALUE]...", help="A YAML file with any of these settings, and more settings."
        ),
    ] = None,
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="Questions: Spider's JSON, a prepared data set, or .jsonl of question and schema or db."),
    ] = None,
    tables: Annotated[Path | None, typer.Option(help="Spider's tables.json, for schemas.")] = None,
    db: Annotated[
        Path | None,
        typer.Option(help="Folder of <db_id>/<db_id>.sqlite, for schemas without tables, and to run samples on."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of a data set folder; validation by default.")] = None,
    limit: Annotated[int | None, typer.Option(help="Answer only the first so many questions.")] = None,
    engine: Annotated[EngineName | None, typer.Option(help="What runs the model; transformers by default.")] = None,
    model: Annotated[str | None, typer.Option(help="Folder or hub name of the model, or its name at a server.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory for predictions.jsonl and run.json.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what the run directory holds, whatever it is.")
    ] = False,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest completion; 256 by default.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy, the default; 0.7 by default for several samples.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the likeliest tokens up to this probability.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", "--n", help="Completions for each question.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all samples.")] = None,
    repair: Annotated[
        bool | None,
        typer.Option(
            "--repair/--no-repair", help="Where a query does not compile, take the most common of 8 samples that does."
        ),
    ] = None,
    self_consistency: Annotated[
        int | None, typer.Option(metavar="N", help="Take the query whose result most of N samples have; needs --db.")
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Precision; bfloat16 on GPUs, float32 on CPUs by default.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests to a server at a time; 16 by default.")] = None,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help=TRUST_HELP)] = False,
) -> None:
    """Answer questions with SQL: predictions for `qsql eval`, resumed where they stopped."""
    options = {
        "data": data, "tables": tables, "db": db, "split": split, "limit": limit, "engine": engine, "model": model,
        "out": out, "max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "samples": samples,
        "seed": seed, "repair": repair, "self_consistency": self_consistency, "dtype": dtype, "base_url": base_url,
        "concurrency": concurrency,
    }  # fmt: skip
    from qsql.generate.settings import settings_from

    settings, directory = settings_from(_config(arguments or [], options), trust_remote_code=trust_remote_code)
    if directory is None:
        raise QsqlError("there is no run directory\nhint: name one with `--out`")
    generation = _generate(settings, directory, overwrite=overwrite)
    for line in _lines(generation, directory):
        say(line)


def _config(arguments: list[str], options: dict[str, Any]) -> Any:
    """Put options over `key=value` settings over the file. JSON is YAML."""
    from qsql.config import load_config
    from qsql.generate.settings import KEYS

    overrides = list(arguments)
    # A folder may have `=` in its name; a key has no period.
    file = Path(overrides.pop(0)) if overrides and "=" not in overrides[0] else None
    for key, value in options.items():
        if value is not None:
            plain = value.value if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value
            overrides.append(f"{key}={json.dumps(plain)}")
    return load_config(file, overrides, KEYS, "generation")


def _generate(settings: Any, directory: Path, *, overwrite: bool) -> Generation:
    import time

    from qsql.generate import Interrupted, generate

    with progress_bar("generating") as update:
        started: dict[str, tuple[float, int]] = {}

        def report(step: str, done: int, total: int, tokens: int) -> None:
            if update is None:
                return
            since, before = started.setdefault(step, (time.perf_counter(), tokens))
            seconds = time.perf_counter() - since
            rate = f"{(tokens - before) / seconds:,.0f} tokens/s" if tokens > before and seconds else ""
            update(done, total, rate, step)

        try:
            return generate(settings, directory, sys.argv, report, overwrite=overwrite)
        except Interrupted as interrupt:
            note(interrupted(interrupt.finished, interrupt.total, "question", directory))
            raise
        except KeyboardInterrupt:
            note("interrupted before any question was answered")
            raise


def _lines(generation: Generation, directory: Path) -> list[str]:
    """Say what came out."""
    outcome = generation.outcome
    questions = outcome["questions"]
    resumed = f", {outcome['resumed']:,} of them before" if outcome["resumed"] else ""
    lines = [f"{count(questions, 'prediction')} in `{directory}`{resumed}"]
    share = 100 * outcome["compiling"] / questions
    errors = ", ".join(f"{number} {error.replace('_', ' ')}" for error, number in outcome["errors"].items())
    lines.append(f"{outcome['compiling']:,} compile ({share:.1f}%)" + (f"; {errors}" if errors else ""))
    if repair := outcome["repair"]:
        lines.append(f"{repair['repaired']:,} of {count(repair['questions'], 'prediction')} repaired")
    tokens = outcome["tokens"] + (repair["tokens"] if repair else 0)
    lines.append(f"{count(tokens, 'token')} in {outcome['wall_seconds']['all']:.1f} s")
    for reason, words in (
        ("length", "cut off at the most tokens"),
        ("prompt_too_long", "without an answer, since the prompt is too long"),
    ):
        if number := outcome["finish_reasons"].get(reason):
            note(f"warning: {count(number, 'completion')} {words}")
    return lines


def ask_command(
    question: Annotated[str, typer.Argument(help="In plain words.")],
    *,
    db: Annotated[Path, typer.Option(help="A .sqlite file.")],
    model: Annotated[str | None, typer.Option(help="Folder or hub name of the model, or its name at a server.")] = None,
    engine: Annotated[EngineName, typer.Option(help="What runs the model.")] = EngineName.transformers,
    run: Annotated[
        bool, typer.Option("--run", help="Run the query, read-only and within limits, and print the rows.")
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Draw more queries if the first does not compile.")] = False,
    max_rows: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 20,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest completion.")] = 256,
    dtype: Annotated[Dtype, typer.Option(help="Precision; bfloat16 on GPUs, float32 on CPUs by default.")] = Dtype.auto,
    base_url: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")] = None,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help=TRUST_HELP)] = False,
) -> None:
    """Ask one question of one database: its query, and with --run the answer."""
    from qsql._core import query
    from qsql.engines import Decoding, EngineSettings
    from qsql.generate.ask import ask

    settings = EngineSettings(
        engine=engine.value, model=model, dtype=dtype.value, base_url=base_url, trust_remote_code=trust_remote_code
    )
    answer = ask(db, question, settings, Decoding(max_new_tokens), repair=repair)
    _print_query(answer)
    if explanation := answer.explanation():
        raise QsqlError(f"{explanation}\nhint: put the question in other words, try `--repair` or another model")
    if run:
        result = query(db, answer.sql, max_rows=max_rows)
        if result.state != "ran":
            raise QsqlError(
                f"the query was stopped ({result.state}): {result.detail}\nhint: see what it asks for above"
            )
        _print_rows(result)


def _print_query(answer: Answer) -> None:
    if not answer.sql:
        return
    if not sys.stdout.isatty():
        write_out(f"{answer.sql}\n")
        return
    from rich.syntax import Syntax

    console().print(Syntax(visible(answer.sql), "sql", background_color="default", word_wrap=True))


def _print_rows(result: QueryResult) -> None:
    from rich.table import Table
    from rich.text import Text

    names, rows = result.columns[:MOST_COLUMNS], [row[:MOST_COLUMNS] for row in result.rows]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column, cells in zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True):
        numbers = bool(cells) and all(isinstance(cell, int | float) for cell in cells if cell is not None)
        name = Text(one_line(column, LONGEST_CELL))
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console().print(table)
    more = "the first " if result.truncated else ""
    hidden = len(result.columns) - len(names)
    note(f"{more}{count(len(rows), 'row')}" + (f"; {count(hidden, 'more column')} not shown" if hidden else ""))
