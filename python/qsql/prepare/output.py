"""The folder of a prepared data set: what is in it, how it is written, and how it is read again.

`report.json` is written last and names every other file with its hash: a folder without it is not complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError, __version__
from qsql.files import read_json_lines
from qsql.outputs import refuse_inputs
from qsql.prepare.card import data_card
from qsql.prepare.clean import answer
from qsql.prompt import INSTRUCTION, build_prompt
from qsql.results import read_json, sha256, unwritable, write_json
from qsql.shapes import FLAG, INTEGER, TEXT, ListOf, MapOf, Nullable, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from qsql.prepare.rows import Dropped, Row
    from qsql.prepare.settings import Settings

TRAIN, VALIDATION, DROPPED = "train.json", "validation.json", "dropped.jsonl"
DATASET_INFO, CARD, REPORT = "dataset_info.json", "data_card.md", "report.json"
EXAMPLES = 3
"""Dropped examples of each stage in the report."""
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
_MOST_BINS = 10_000
_AGAIN = "run `qsql data prepare` again"
_SIDE = Record({"rows": INTEGER, "schemas": INTEGER})
_REPORT = Record(
    {
        "settings": Record({"cutoff": INTEGER}),
        "stages": ListOf(Record({"stage": TEXT, "rows": INTEGER, "dropped": INTEGER, "is_on": FLAG})),
        "statistics": Record(
            {"rows": INTEGER, "hardness": MapOf(INTEGER), "features": MapOf(INTEGER)},
            {"tokens": Record({"bin": INTEGER, "histogram": MapOf(INTEGER)})},
        ),
        "dropped_examples": MapOf(Record({"reasons": MapOf(INTEGER)})),
        "train": _SIDE,
        "validation": _SIDE,
        "outputs": MapOf(TEXT),
    }
)
_EXAMPLE = Record({"id": TEXT, "db_id": Nullable(TEXT), "instruction": TEXT, "output": TEXT})
_DROPPED = Record(
    {
        **dict.fromkeys(("stage", "reason", "detail", "source", "question", "query"), TEXT),
        "position": INTEGER,
        "db_id": Nullable(TEXT),
    }
)


def write_data_set(
    out: Path,
    settings: Settings,
    train: Sequence[Row],
    validation: Sequence[Row],
    dropped: Sequence[Dropped],
    facts: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a data set into a folder of its own, which takes the place of `out` when it is complete.

    Returns:
        The report.

    Raises:
        QsqlError: If `out` holds something else, or cannot be written. It is then as it was before.
    """
    # Of a folder that is named `.` only this tells the name.
    out = Path(os.path.abspath(out))  # noqa: PTH100 - `resolve` would follow a link and replace what it leads to
    require_replaceable(out, (), overwrite=overwrite)
    partial, previous = (out.with_name(f".{out.name}.{kind}") for kind in ("partial", "previous"))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write_list(partial / TRAIN, map(example, train))
        _write_list(partial / VALIDATION, map(example, validation))
        with (partial / DROPPED).open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(_dropped(item), ensure_ascii=True) + "\n" for item in dropped)
        splits = {"train": TRAIN, **({"validation": VALIDATION} if validation else {})}
        entries = {name: {"file_name": file_name, "columns": _ALPACA} for name, file_name in splits.items()}
        write_json(partial / DATASET_INFO, entries)
        report = {
            "qsql_version": __version__,
            "instruction": INSTRUCTION,
            "settings": _settings_record(settings),
            **facts,
            "train": _side(train),
            "validation": _side(validation),
            "dropped_examples": _examples(dropped),
        }
        (partial / CARD).write_text(data_card(report), encoding="utf-8", newline="\n")
        names = [TRAIN, VALIDATION, DROPPED, DATASET_INFO, CARD]
        report["outputs"] = {name: sha256(partial / name) for name in names}
        write_json(partial / REPORT, report)
        _take_place(partial, out, previous)
    except OSError as error:
        raise unwritable(out, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def _take_place(partial: Path, out: Path, previous: Path) -> None:
    """Put a complete folder where another may be, which is gone only when the new one is there."""
    _remove(previous)
    if out.exists():
        out.replace(previous)
    try:
        partial.replace(out)
    except OSError:
        if previous.exists():
            previous.replace(out)
        raise
    _remove(previous)


def _remove(path: Path) -> None:
    """Remove a folder, a file, or a link without what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def require_replaceable(out: Path, inputs: Sequence[str], *, overwrite: bool = False) -> None:
    """See that a data set can take the place of what is there: nothing, or a data set as it was prepared before.

    Raises:
        QsqlError: If `out` holds one of the `inputs`, or something else that is not to be overwritten.
    """
    if not out.exists():
        return
    for name in inputs:
        if Path(name).resolve().is_relative_to(out.resolve()) and Path(name).exists():
            raise QsqlError(
                f"`{name}` is read, and would be lost with what is in `{out}`\nhint: choose another `--out`"
            )
    refuse_inputs(out, [path for path in map(Path, inputs) if path.exists()])
    if overwrite:
        return
    hint = "choose another `--out`, or replace it with `--overwrite`"
    known = {TRAIN, VALIDATION, DROPPED, DATASET_INFO, CARD, REPORT}
    found = {path.name for path in out.iterdir()} if out.is_dir() else {""}
    if found - known or (found and REPORT not in found):
        raise QsqlError(f"`{out}` exists and holds something else\nhint: {hint}")
    outputs = read_json(out / REPORT).get("outputs", {}) if found else {}
    changed = [name for name, expected in outputs.items() if name in found and sha256(out / name) != expected]
    if changed:
        raise QsqlError(f"`{out / changed[0]}` was changed after it was prepared\nhint: {hint}")


def example(row: Row) -> dict[str, Any]:
    """Write a row as LLaMA-Factory's alpaca format has it, with where it comes from beside it."""
    return {
        "id": row.id,
        "db_id": row.db_id,
        "question": row.question,
        "schema": row.schema,
        "instruction": build_prompt(row.schema, row.question),
        "input": "",
        "output": answer(row),
    }


def _write_list(path: Path, examples: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("[")
        for number, item in enumerate(examples):
            file.write(("," if number else "") + "\n" + json.dumps(item, ensure_ascii=False))
        file.write("\n]\n")


def _dropped(item: Dropped) -> dict[str, Any]:
    row = item.row
    return {
        "stage": item.stage,
        "reason": item.reason,
        "detail": item.detail,
        "source": row.source,
        "position": row.position,
        "id": row.id,
        "db_id": row.db_id,
        "question": row.question,
        "query": row.query,
        "schema": row.schema,
    }


def _settings_record(settings: Settings) -> dict[str, Any]:
    # Where files lie is of no account for what comes out, and differs from machine to machine.
    record = asdict(settings)
    for name in ("sources", "exclude", "tables", "db", "endpoint"):
        record.pop(name)
    return record


def _side(rows: Sequence[Row]) -> dict[str, int]:
    return {"rows": len(rows), "schemas": len({row.schema for row in rows})}


def _examples(dropped: Sequence[Dropped]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in dropped:
        stage = found.setdefault(item.stage, {"reasons": Counter(), "examples": []})
        stage["reasons"][item.reason] += 1
        if len(stage["examples"]) < EXAMPLES:
            row = item.row
            stage["examples"].append(
                {"place": row.place, "detail": item.detail, "question": row.question, "query": row.query}
            )
    for stage in found.values():
        stage["reasons"] = dict(sorted(stage["reasons"].items(), key=lambda entry: (-entry[1], entry[0])))
    return found


def read_report(directory: Path) -> dict[str, Any]:
    """Read the report of a prepared data set, and check that its files are those that it names.

    Raises:
        QsqlError: If there is none, or a file is missing or another.
    """
    if not (directory / REPORT).is_file():
        raise QsqlError(
            f"`{directory}` is no prepared data set: it has no {REPORT}\nhint: make one with `qsql data prepare`"
        )
    report: dict[str, Any] = read_json(directory / REPORT, _REPORT)
    if (tokens := report["statistics"].get("tokens")) and not _is_histogram(tokens):
        raise QsqlError(f"`{directory / REPORT}`: `statistics.tokens` is no histogram\nhint: {_AGAIN}")
    for name, expected in report["outputs"].items():
        path = directory / name
        if not path.is_file():
            raise QsqlError(f"`{path}` is missing\nhint: {_AGAIN}")
        if sha256(path) != expected:
            raise QsqlError(
                f"`{path}` was changed after it was prepared\nhint: run `qsql data prepare --overwrite` again"
            )
    return report


def _is_histogram(tokens: Mapping[str, Any]) -> bool:
    starts, width = tokens["histogram"], tokens["bin"]
    return (
        bool(starts)
        and all(key.isascii() and key.isdecimal() and len(key) < 10 for key in starts)
        and (width > 0 and max(map(int, starts)) // width < _MOST_BINS)
    )


def read_examples(directory: Path, name: str) -> list[dict[str, Any]]:
    """Read the examples of `train.json` or `validation.json`."""
    examples: list[dict[str, Any]] = read_json(directory / name, ListOf(_EXAMPLE))
    return examples


def read_dropped(directory: Path) -> list[dict[str, Any]]:
    """Read what was dropped, in the order of the stages."""
    return [item for _, item in read_json_lines(directory / DROPPED, _DROPPED, hint=_AGAIN)]
