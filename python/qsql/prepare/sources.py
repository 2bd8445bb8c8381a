"""Where examples come from: data sets on the hub, files, and the folders of Spider and BIRD.

Every source becomes a list of rows with question, query and schema. Problems name the file and the item.
"""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.files import decode_text, parse_json, require_regular, text_lines
from qsql.prepare.compression import COMPRESSIONS, kind_of, read_bytes
from qsql.prepare.parquet import read_parquet
from qsql.prepare.rows import Row, place
from qsql.results import sha256, suite_hash
from qsql.schema_text import Schemas, SchemaStyle, read_schemas
from qsql.visible import encodable, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")
COLUMNS = {
    "question": ("question",),
    "query": ("query", "sql", "SQL"),
    "schema": ("schema", "context"),
    "db_id": ("db_id",),
    "evidence": ("evidence",),
    "id": ("id", "question_id"),
}
"""What a column may be called. Question and query must be there, and a schema or a `db_id`."""
SPIDER_FILES = ("train_spider.json", "train_others.json")
BIRD_FILES = ("train.json",)
BIRD_TABLES = "train_tables.json"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class SourceOptions:
    """How sources are read."""

    style: SchemaStyle = field(default_factory=SchemaStyle)
    evidence: bool = True
    """Append BIRD's evidence to the question."""
    tables: Path | None = None
    """`tables.json` with the schemas of files that have only a `db_id`."""
    databases: Path | None = None
    """Folder of `<db_id>/<db_id>.sqlite`."""
    split: str = "train"
    """Of data sets on the hub."""
    revision: str | None = None
    """Of data sets on the hub: a branch, tag or commit."""
    endpoint: str | None = None
    """Address of the hub or of a mirror."""


@dataclass(frozen=True)
class Source:
    """A source that was read."""

    name: str
    rows: list[Row]
    inputs: dict[str, str]
    """SHA-256 of each file it was read from, by name."""


def read_source(text: str, options: SourceOptions, progress: Callable[[int, int], object] | None = None) -> Source:
    """Read one source: a folder of Spider or BIRD, a file, or the name of a data set on the hub.

    Raises:
        QsqlError: If there is no such source, it has other columns, or yields nothing; the message lists what
            was found.
    """
    path = Path(text)
    if path.is_dir():
        source = _read_folder(path, options)
    elif path.exists():
        require_regular(path)
        source = _read_file(path, options)
    elif HUB_NAME.fullmatch(text) and kind_of(path) not in SUFFIXES:
        from qsql.prepare.hub import download  # noqa: PLC0415 - needs an extra

        records, inputs = download(text, options.split, options.revision, options.endpoint, progress)
        source = Source(text, _rows(text, records, _schemas_beside(None, options), options), inputs)
    else:
        raise QsqlError(
            f"no source `{text}`\nhint: a source is a folder of Spider or BIRD, a file ({', '.join(SUFFIXES)}), or a "
            "data set on the hub such as PipableAI/pip-txt-to-sql-spider-bird-dataset"
        )
    if not source.rows:
        raise QsqlError(f"`{text}` yields no examples\nhint: check the file, and `--split` for data sets on the hub")
    return source


def _read_folder(folder: Path, options: SourceOptions) -> Source:
    names = {path.name for path in folder.iterdir()}
    if found := [name for name in SPIDER_FILES if name in names]:
        tables = folder / "tables.json"
        databases = options.databases or next(
            (folder / name for name in ("database", "databases") if name in names), None
        )
    elif found := [name for name in BIRD_FILES if name in names]:
        tables = folder / BIRD_TABLES
        databases = options.databases or next((folder / name for name in ("train_databases",) if name in names), None)
    else:
        listing = listed(sorted(names)) or "nothing"
        raise QsqlError(
            f"`{folder}` is no folder of Spider or BIRD; it holds {listing}\n"
            f"hint: Spider has {' or '.join(SPIDER_FILES)} with tables.json, BIRD {BIRD_FILES[0]} with {BIRD_TABLES}"
        )
    if not tables.is_file() and databases is None:
        raise QsqlError(
            f"`{folder}` has no `{tables.name}` and no databases\nhint: put {tables.name} beside the examples"
        )
    inputs = {name: sha256(folder / name) for name in found}
    if tables.is_file():
        inputs[tables.name] = sha256(tables)
    schemas = Schemas(tables if tables.is_file() else None, databases, options.style)
    rows: list[Row] = []
    for name in found:
        source = f"{folder.name}/{name}" if folder.name else name
        rows.extend(_rows(source, read_records(folder / name), schemas, options))
    return Source(folder.name, rows, inputs | _hash_of_databases(rows))


def _read_file(path: Path, options: SourceOptions) -> Source:
    if kind_of(path) not in SUFFIXES:
        raise QsqlError(
            f"`{path}` is of no known kind\nhint: a source file ends in {', '.join(SUFFIXES)}, perhaps with "
            f"{', '.join(COMPRESSIONS)} behind it"
        )
    rows = _rows(path.name, read_records(path), _schemas_beside(path, options), options)
    return Source(path.name, rows, {path.name: sha256(path)} | _hash_of_databases(rows))


def _hash_of_databases(rows: Sequence[Row]) -> dict[str, str]:
    """Hash the databases that can be read; rows of others are left out for that."""
    files = [
        file for file in sorted({row.database for row in rows if row.database is not None}) if os.access(file, os.R_OK)
    ]
    return {f"{len(files)} databases": suite_hash(map(Path, files))} if files else {}


def read_records(path: Path) -> Iterable[tuple[int, Any]]:
    """Read the records of a .json, .jsonl, .csv or .parquet file with their positions from 1.

    Raises:
        QsqlError: If it cannot be read; the message names the line.
    """
    kind = kind_of(path)
    if kind == ".parquet":
        names = {name for known in COLUMNS.values() for name in known}
        records: Iterable[tuple[int, Any]] = read_parquet(path, names)
    else:
        records = _read_csv(path) if kind == ".csv" else _read_json(path)
    return ((position, _encodable(record)) for position, record in records)


def _encodable(record: Any) -> Any:
    if not isinstance(record, dict):
        return record
    return {name: encodable(value) if isinstance(value, str) else value for name, value in record.items()}


def _text(path: Path) -> str:
    try:
        data = read_bytes(path)
    except OSError as error:
        raise QsqlError(f"cannot read `{path}`: {error.strerror or error}\nhint: check the path") from None
    # What cannot be decoded is left to the stage for broken text, which shows it.
    return decode_text(data, path, errors="replace")


def _read_json(path: Path) -> Iterator[tuple[int, Any]]:
    text = _text(path)
    # Some sets on the hub have JSON lines under the name of JSON: one object on the first line, and more behind it.
    first, _, rest = text.partition("\n")
    if kind_of(path) != ".jsonl" and not (first.startswith("{") and first.rstrip().endswith("}") and rest.strip()):
        records = parse_json(text, f"`{path}`", "JSON lines end in .jsonl")
        if not isinstance(records, list):
            raise QsqlError(f"`{path}` is not a list of examples\nhint: JSON lines end in .jsonl")
        yield from enumerate(records, 1)
        return
    for number, line in enumerate(text_lines(text), 1):
        if line.strip():
            yield number, parse_json(line, f"`{path}` line {number}", "mend or remove the line")


def _read_csv(path: Path) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    number = 0
    try:
        for record in reader:
            number += 1
            if None in record or None in record.values():
                raise QsqlError(
                    f"`{path}` line {reader.line_num} has another number of fields than the header\n"
                    "hint: quote fields that hold commas or line breaks"
                )
            yield number, record
    except csv.Error as error:
        raise QsqlError(f"`{path}` line {reader.line_num}: {error}\nhint: check the quotes") from None


def _schemas_beside(path: Path | None, options: SourceOptions) -> Schemas:
    tables = options.tables
    if tables is None and path is not None and path.name != "tables.json":
        tables = next((path.parent / name for name in ("tables.json",) if (path.parent / name).is_file()), None)
    return Schemas(tables, options.databases, options.style)


def _rows(source: str, records: Iterable[tuple[int, Any]], schemas: Schemas, options: SourceOptions) -> list[Row]:
    rows = []
    names: Mapping[str, str] | None = None
    for position, record in records:
        if not isinstance(record, dict):
            raise QsqlError(
                f"{place(source, position)} is not a record but a {type(record).__name__}\n"
                "hint: each item has question, query, and schema or db_id"
            )
        if names is None:
            names = _column_names(source, list(record))
        rows.append(_row(source, position, record, names, schemas, options))
    return rows


def _column_names(source: str, found: Sequence[str]) -> dict[str, str]:
    names = {wanted: name for wanted, known in COLUMNS.items() for name in reversed(known) if name in found}
    missing = [wanted for wanted in ("question", "query") if wanted not in names]
    if "schema" not in names and "db_id" not in names:
        missing.append("schema (or db_id)")
    if missing:
        raise QsqlError(
            f"`{source}` lacks {', '.join(missing)}; its columns are {listed(found, 30) or 'none'}\n"
            "hint: rename the columns to question, query, and schema or db_id"
        )
    return names


def _row(
    source: str,
    position: int,
    record: Mapping[str, Any],
    names: Mapping[str, str],
    schemas: Schemas,
    options: SourceOptions,
) -> Row:
    def field(wanted: str) -> str:
        value = record.get(names.get(wanted, ""))
        if isinstance(value, list | dict):
            raise QsqlError(
                f"{place(source, position)}: `{names[wanted]}` is no text but a {type(value).__name__}\n"
                "hint: write it as one text"
            )
        return "" if value is None else str(value)

    db_id = field("db_id") or None
    schema, problem = field("schema"), None
    try:
        database = schemas.database(db_id) if db_id is not None else None
    except QsqlError as error:
        raise QsqlError(f"{place(source, position)}: {error}") from None
    if not schema.strip() and db_id is not None:
        try:
            text = schemas.text(db_id)
        except QsqlError as error:
            # One database that cannot be read is no reason to give up the others.
            text, problem = "", str(error).partition("\nhint: ")[0]
        if text is None and "schema" not in names:
            raise QsqlError(
                f"{place(source, position)}: no schema of database `{db_id}` is known\n"
                "hint: give its tables.json (`--tables`) or the folder of the databases (`--db`)"
            )
        schema = text or ""
    question = field("question")
    if options.evidence and (evidence := field("evidence").strip()):
        question = f"{question.rstrip()}\nEvidence: {evidence}"
    return Row(
        source=source,
        position=position,
        id=field("id") or f"{source}:{position}",
        question=question,
        query=field("query"),
        schema=schema,
        db_id=db_id,
        database=None if database is None else str(database),
        problem=problem,
    )


def schemas_of(path: Path) -> dict[str, str]:
    """Read the schemas that stand beside an evaluation file, by `db_id`; none if there is no `tables.json`."""
    tables = next(
        (path.parent / name for name in ("tables.json", "dev_tables.json") if (path.parent / name).is_file()), None
    )
    return {} if tables is None else read_schemas(tables)
