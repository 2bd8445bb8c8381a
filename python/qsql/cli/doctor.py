"""`qsql doctor`."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from qsql.cli.terminal import console, count, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsql.doctor import Cache, Diagnosis


class Format(str, Enum):
    """How to print what is found."""

    rich = "rich"
    json = "json"


COLOURS = {"ready": "green", "missing": "yellow", "broken": "red"}
TELLING = ("ENABLE_", "OMIT_", "LIKE_", "SOUNDEX", "TEMP_STORE", "THREADSAFE")
"""Options on which it depends what a query may say and return; the others are sizes."""


def doctor_command(
    format_: Annotated[Format, typer.Option("--format", help="How to print what is found.")] = Format.rich,
) -> None:
    """Tell what works here: versions, SQLite, memory, GPU, caches, extras."""
    from qsql.doctor import examine

    waiting = console(stderr=True).status("importing what is installed") if sys.stderr.isatty() else nullcontext()
    with waiting:
        diagnosis = examine()
    if format_ is Format.json:
        say(json.dumps(diagnosis.as_json(), indent=2))
        return
    _print(diagnosis)


def _print(diagnosis: Diagnosis) -> None:
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in _facts(diagnosis):
        facts.add_row(name, text)
    console().print(facts)
    console().print()
    if diagnosis.extras_problem is not None:
        console().print(f"extras: {diagnosis.extras_problem}")
    else:
        _print_extras(diagnosis)
    console().print(Text.assemble("\n", ("verdict", "bold"), "  ", diagnosis.verdict))


def _print_extras(diagnosis: Diagnosis) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("extra", style="bold", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("packages (-: not installed)", overflow="fold")
    for extra in diagnosis.extras:
        packages = ", ".join(
            f"{package.name} {package.version}" if package.version else f"{package.name} -"
            for package in extra.packages
        )
        table.add_row(extra.name, Text(extra.state, COLOURS[extra.state]), packages)
    console().print(table)
    for extra in diagnosis.extras:
        for package in extra.packages:
            if package.problem is not None:
                console().print(Text.assemble((extra.name, "red"), f": {package.name}: {package.problem}"))
    lines = [extra.install for extra in diagnosis.extras if extra.state != "ready"]
    if lines:
        console().print("\nto add what is missing or broken:")
    for line in lines:
        console().print(f"  {line}")


def _facts(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    versions = diagnosis.versions
    yield "qsql", f"{versions['qsql']} in {versions['qsql_path']}"
    yield "Python", f"{versions['python']}, {versions['python_path']}"
    yield "platform", versions["platform"]
    options = [option for option in diagnosis.sqlite_compile_options if option.startswith(TELLING)]
    yield "SQLite", f"{versions['sqlite']}, inside qsql: {', '.join(options)}; all options: --format json"
    if diagnosis.scoring_problem is not None:
        yield "scoring", f"does not work: {diagnosis.scoring_problem}"
    yield "CPU", f"{count(diagnosis.cores, 'core')}; scoring takes {count(diagnosis.threads, 'thread')}"
    yield "memory", f"{_size(diagnosis.memory.available)} free of {_size(diagnosis.memory.total)}"
    yield "GPU", "\n".join(_gpus(diagnosis))
    for cache in diagnosis.caches:
        yield "cache", f"{cache.holds}: {_cache(cache)}"


def _gpus(diagnosis: Diagnosis) -> Iterator[str]:
    torch = diagnosis.torch
    if torch is not None and torch.gpus:
        built_for = f", torch for {torch.built_for}"
        yield from (f"{name}, {_size(free)} free of {_size(total)}{built_for}" for name, free, total in torch.gpus)
    else:
        for gpu in diagnosis.gpus:
            yield f"{gpu.name}, {_size(gpu.memory - gpu.used)} free of {_size(gpu.memory)}"
    if torch is not None and torch.mps:
        yield "that of the Mac, by torch (MPS)"
    if diagnosis.gpu_problem is not None:
        yield diagnosis.gpu_problem if diagnosis.gpus else f"none: {diagnosis.gpu_problem}"


def _cache(cache: Cache) -> str:
    if cache.problem is not None:
        return f"{cache.path}, cannot be written: {cache.problem}"
    kept = _size(cache.size) if cache.exists else "not there yet, will be made"
    return f"{cache.path}, {kept}, {_size(cache.free)} free"


def _size(number: int) -> str:
    for unit, scale in (("GiB", 30), ("MiB", 20)):
        if number >= 1 << scale:
            return f"{number / (1 << scale):.1f} {unit}"
    return f"{number / 1024:.0f} KiB"
