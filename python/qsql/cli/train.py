"""`qsql train`."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qsql.cli.terminal import console, count, note, say, write_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qsql.train.plan import Plan
    from qsql.train.progress import Progress

QUIET_SECONDS = 30.0
"""Where there is no terminal, progress is told so often at most."""


class SelectBy(str, Enum):
    """What the best checkpoint is chosen by."""

    config = "config"
    loss = "loss"
    execution = "execution"


class PackedAttention(str, Enum):
    """How examples of one row are kept apart."""

    auto = "auto"
    masked = "masked"
    varlen = "varlen"


def train_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML with LLaMA-Factory's arguments.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Arguments that go before those of the file.")
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and print everything, start nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of output_dir.")] = False,
    select: Annotated[
        SelectBy, typer.Option(help="Choose the best checkpoint by this; config: as the file says.")
    ] = SelectBy.config,
    db: Annotated[Path | None, typer.Option(help="For --select execution: folder of <db_id>/<db_id>.sqlite.")] = None,
    table: Annotated[Path | None, typer.Option(help="For --select execution: Spider's tables.json.")] = None,
    validation_sample: Annotated[
        int, typer.Option(min=1, help="For --select execution: examples of eval_dataset to generate.")
    ] = 200,
    padding_free: Annotated[
        bool | None,
        typer.Option(
            "--padding-free/--padded",
            help="Concatenate the examples of a batch instead of padding them; by default in batches of several.",
        ),
    ] = None,
    attention: Annotated[
        PackedAttention,
        typer.Option(help="How concatenated examples are kept apart: torch's varlen attention, or a mask."),
    ] = PackedAttention.auto,
    compile_layers: Annotated[
        bool, typer.Option("--compile", help="Compile the layers of the model with torch.compile.")
    ] = False,
    checkpoint_above: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Recompute activations only in rows of more tokens; by default what the GPU's memory asks for.",
        ),
    ] = None,
    layers_together: Annotated[
        int, typer.Option(min=1, help="Layers that FSDP gathers at once; more take more memory and less time.")
    ] = 4,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let the model run code that comes with it.")
    ] = False,
) -> None:
    """Fine-tune a model with LLaMA-Factory on a prepared data set."""
    from qsql.train.plan import Options, make_plan

    options = Options(
        select=select.value,
        database_dir=db,
        tables=table,
        validation_sample=validation_sample,
        padding_free=padding_free,
        attention=attention.value,
        compile_layers=compile_layers,
        checkpoint_above=checkpoint_above,
        layers_together=layers_together,
        resume=resume,
        trust_remote_code=trust_remote_code,
    )
    plan = make_plan(config, overrides or [], options)
    _describe(plan)
    if dry_run:
        _describe_dry_run(plan)
        return
    _run(plan)


def _run(plan: Plan) -> None:
    from qsql.train.launch import run
    from qsql.training_log import TRAINER_STATE

    directory = plan.run_directory
    with _progress_line() as progress:
        try:
            outcome = run(plan, sys.argv, progress)
        except KeyboardInterrupt:
            checkpoints = any(directory.glob(f"checkpoint-*/{TRAINER_STATE}"))
            way = "`--resume` goes on from the last checkpoint" if checkpoints else "there is no checkpoint yet"
            note(f"interrupted; {way}; the log is `{directory / 'train.log'}`")
            raise
    say(f"{count(outcome.steps, 'step')} in {outcome.seconds:,.0f} s; the model is `{directory}`")
    if outcome.best_step is not None and outcome.best_metric is not None:
        say(f"best checkpoint: step {outcome.best_step:,}, {outcome.metric} {outcome.best_metric:.4f}")
    if outcome.curves is not None:
        say(f"learning curves: `{outcome.curves}`")


def _describe(plan: Plan) -> None:
    """Print what the run will do, on stderr: the results of the command come on stdout."""
    from qsql.train.plan import gib

    values = plan.config.values
    kind = values.get("finetuning_type", "lora")
    weights = f", {plan.shape.parameters / 1e9:.2f} billion weights" if plan.shape else ""
    note(f"model: {values['model_name_or_path']}{weights}, {kind} fine-tuning, template {values['template']}")
    for part in [*plan.train, *plan.validation]:
        checked = "as prepared" if part.verified else "not in report.json"
        note(f"data: {part.path}, {count(len(part.examples), 'example')}, SHA-256 {part.sha256[:16]} ({checked})")
    batches = "without padding" if plan.padding_free else "as LLaMA-Factory makes them"
    note(f"steps: {plan.steps:,} of {count(plan.examples_per_step, 'example')}; batches {batches}")
    if plan.options.select != "config":
        note(f"best checkpoint by {plan.options.select}")
    if plan.memory:
        parts = ", ".join(f"{name} {gib(size)}" for name, size in plan.memory.items() if size)
        note(f"GPU memory, estimated: {gib(sum(plan.memory.values()))} ({parts})")
    for gpu in plan.gpus:
        note(f"GPU {gpu.index}: {gpu.name}, {gib(gpu.memory)}, {gib(gpu.used)} in use")
    if plan.shape:
        note(
            f"disk: up to {gib(plan.disk_needed)} ({gib(plan.checkpoint_size)} a checkpoint), "
            f"{gib(plan.disk_free)} free at `{plan.run_directory}`"
        )
    note("versions: " + ", ".join(f"{name} {version or '-'}" for name, version in plan.versions.items()))
    if plan.resume_from is not None:
        note(f"going on from `{plan.resume_from}`")
    for remark in plan.remarks:
        note(f"note: {remark}")
    for problem in plan.problems():
        message, _, hint = problem.partition("\nhint: ")
        note(f"warning: {message}\nhint: {hint}")


def _describe_dry_run(plan: Plan) -> None:
    from qsql.config import dump_config
    from qsql.train.environment import INSTALL

    missing = [name for name, version in plan.versions.items() if version is None]
    if missing:
        note(f"warning: not installed: {', '.join(missing)}\nhint: {INSTALL}")
    write_out(dump_config(plan.config.values))


@contextmanager
def _progress_line() -> Iterator[Callable[[Progress], object]]:
    """Show one line that changes on a terminal, and a line now and then elsewhere."""
    if not sys.stderr.isatty():
        import time

        last = 0.0

        def tell(progress: Progress) -> None:
            nonlocal last
            if time.monotonic() - last >= QUIET_SECONDS:
                last = time.monotonic()
                note(str(progress))

        yield tell
        return
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    # On a narrow terminal it goes on in a second line.
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=False))
    with Bar(BarColumn(bar_width=20), text, console=console(stderr=True)) as bar:
        task = bar.add_task("starting", total=None)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.step, total=progress.steps, description=str(progress))

        yield show
