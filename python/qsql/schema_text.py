"""Schemas as text: `CREATE TABLE` statements, one line for each table, as prompts show them.

Tables come from a database file or from Spider's `tables.json`. Knows nothing of prompts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError, database_file, describe
from qsql.files import read_entries
from qsql.shapes import TEXT, Record
from qsql.visible import encodable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Words that SQLite does not take for a name without quotes. Those that it does, such as `key`, need none.
_RESERVED = frozenset(
    (
        "add all alter and as autoincrement between case check collate commit constraint create default deferrable "
        "delete distinct drop else escape except exists foreign from group having if in index insert intersect into is "
        "isnull join limit not nothing notnull null on or order primary references returning select set table then to "
        "transaction union unique update using values when where"
    ).split()
)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Types of Spider's `tables.json` in SQLite's words; "others" says nothing.
_TYPES = {"text": "TEXT", "number": "NUMERIC", "time": "DATETIME", "boolean": "BOOLEAN", "others": ""}
_LONGEST_VALUE = 50


@dataclass(frozen=True)
class Table:
    """A table as a prompt tells it."""

    name: str
    columns: list[tuple[str, str]]
    """Names and types; a type may be empty."""
    primary_key: list[str] = field(default_factory=list)
    foreign_keys: list[tuple[list[str], str, list[str]]] = field(default_factory=list)
    """Columns, the table that they refer to, and the columns there, or none for its primary key."""
    values: list[list[Any]] = field(default_factory=list)
    """Example values of each column, if there are any."""
    definition: str | None = None
    """How a virtual table is defined; its module gives a meaning to names that are no columns."""


@dataclass(frozen=True)
class SchemaStyle:
    """What the text of a schema tells besides names and types."""

    keys: bool = False
    """Primary and foreign keys."""
    values: int = 0
    """Example values of each column, in a comment behind its table; only databases have them."""


def schema_text(tables: Sequence[Table], style: SchemaStyle = SchemaStyle()) -> str:
    """Write tables as `CREATE TABLE` statements, one a line."""
    return "\n".join(_table_text(table, style) for table in tables)


def _table_text(table: Table, style: SchemaStyle) -> str:
    return _definition(table, style) + _examples(table, style)


def _definition(table: Table, style: SchemaStyle) -> str:
    if table.definition is not None:
        # A comment in it ends with its line.
        is_one_line = "--" not in table.definition
        return (" ".join(table.definition.split()) if is_one_line else table.definition) + ";"
    parts = [f"{_name(column)} {kind}".rstrip() for column, kind in table.columns]
    if style.keys:
        if table.primary_key:
            parts.append(f"PRIMARY KEY ({_names(table.primary_key)})")
        for columns, target, references in table.foreign_keys:
            behind = f" ({_names(references)})" if references else ""
            parts.append(f"FOREIGN KEY ({_names(columns)}) REFERENCES {_name(target)}{behind}")
    return f"CREATE TABLE {_name(table.name)} ({', '.join(parts)});"


def _examples(table: Table, style: SchemaStyle) -> str:
    if not (style.values and any(table.values)):
        return ""
    examples = (
        f"{_name(column)}: {', '.join(shown)}"
        for (column, _), values in zip(table.columns, table.values, strict=True)
        if (shown := [_value(value) for value in values[: style.values] if not isinstance(value, bytes)])
    )
    # Text in a value must not end the comment.
    return f" /* {'; '.join(examples).replace('*/', '* /')} */"


def _name(name: str) -> str:
    if _PLAIN.fullmatch(name) and name.casefold() not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def _names(names: Sequence[str]) -> str:
    return ", ".join(_name(name) for name in names)


def _value(value: float | str) -> str:
    if not isinstance(value, str):
        return str(value)
    text = " ".join(value.split())
    text = text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE].rstrip() + "..."
    return "'" + text.replace("'", "''") + "'"


def tables_of_database(path: Path, values: int = 0) -> list[Table]:
    """Read the tables of a `.sqlite` file, with so many example values of each column.

    Raises:
        QsqlError: If it cannot be read or has no tables.
    """
    described = describe(path, values=values)
    if not described:
        raise QsqlError(f"`{path}` has no tables\nhint: check that it is the database that was meant")
    return [
        Table(
            table["name"],
            [(name, kind) for name, kind, _ in table["columns"]],
            [name for name, _, key in sorted(table["columns"], key=lambda column: column[2]) if key],
            table["foreign_keys"],
            table["values"],
            table.get("definition"),
        )
        for table in described
    ]


def read_spider_tables(path: Path) -> dict[str, list[Table]]:
    """Read the schemas of all databases in Spider's or BIRD's `tables.json`, by `db_id`.

    Raises:
        QsqlError: If the file cannot be read or an entry is not what it should be.
    """
    entries = read_entries(path, Record({"db_id": TEXT}), hint=_ENTRY_HINT)
    return dict(_tables_of_entry(path, place, entry) for place, entry in entries)


_ENTRY_HINT = (
    "give Spider's `tables.json`, a list whose entries have db_id, table_names_original, column_names_original, "
    "column_types, primary_keys, foreign_keys"
)


def _tables_of_entry(path: Path, place: str, entry: Mapping[str, Any]) -> tuple[str, list[Table]]:
    try:
        return entry["db_id"], _read_entry(entry)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise QsqlError(f"`{path}` {place}: {type(error).__name__}: {error}\nhint: {_ENTRY_HINT}") from None


def _read_entry(entry: Mapping[str, Any]) -> list[Table]:
    names, columns = entry["table_names_original"], entry["column_names_original"]
    kinds = entry["column_types"]
    # A primary key of several columns is a list of its own in BIRD's file.
    primary = [key if isinstance(key, list) else [key] for key in entry.get("primary_keys", [])]
    tables = []
    for at, name in enumerate(names):
        # SQLite makes its own tables itself, and refuses to have them defined.
        if str(name).casefold().startswith("sqlite_"):
            continue
        own = [
            (encodable(str(column)), _TYPES.get(kind, encodable(str(kind).upper())))
            for (owner, column), kind in zip(columns, kinds, strict=True)
            if owner == at
        ]
        keys = [[encodable(str(columns[column][1])) for column in key] for key in primary if columns[key[0]][0] == at]
        foreign = [
            (
                [encodable(str(columns[column][1]))],
                encodable(str(names[columns[target][0]])),
                [encodable(str(columns[target][1]))],
            )
            for column, target in entry.get("foreign_keys", [])
            if columns[column][0] == at
        ]
        tables.append(Table(encodable(str(name)), own, [column for key in keys for column in key], foreign))
    return tables


class Schemas:
    """Schema texts by `db_id`, of databases or of `tables.json`, each read when it is asked for.

    Args:
        tables: Spider's `tables.json`.
        databases: Folder of `<db_id>/<db_id>.sqlite`.
        style: What the texts tell.

    Raises:
        QsqlError: If there is no such folder, or `tables` cannot be read.
    """

    def __init__(
        self, tables: Path | None = None, databases: Path | None = None, style: SchemaStyle = SchemaStyle()
    ) -> None:
        if databases is not None and not databases.is_dir():
            raise QsqlError(f"database folder `{databases}` not found\nhint: it holds `<db_id>/<db_id>.sqlite`")
        self._tables = {} if tables is None else read_spider_tables(tables)
        self._databases = databases
        self._style = style
        self._texts: dict[str, str | QsqlError | None] = {}

    def database(self, db_id: str) -> Path | None:
        """Find the file of a database, if there is one.

        Raises:
            QsqlError: If there are databases, and this is no name of one.
        """
        if self._databases is None:
            return None
        path = Path(database_file(self._databases, db_id))
        return path if path.is_file() else None

    def text(self, db_id: str) -> str | None:
        """Write the schema of a database, if it is known.

        Raises:
            QsqlError: If the database cannot be read.
        """
        if db_id not in self._texts:
            try:
                self._texts[db_id] = self._read(db_id)
            except QsqlError as error:
                self._texts[db_id] = error
        found = self._texts[db_id]
        if isinstance(found, QsqlError):
            raise QsqlError(*found.args)
        return found

    def _read(self, db_id: str) -> str | None:
        path = self.database(db_id)
        # What tables.json says is official; only databases have values.
        if db_id in self._tables and not (self._style.values and path is not None):
            return schema_text(self._tables[db_id], self._style)
        return None if path is None else schema_text(tables_of_database(path, self._style.values), self._style)


def read_schemas(path: Path, style: SchemaStyle = SchemaStyle()) -> dict[str, str]:
    """Read the schema texts of all databases, by `db_id`.

    Args:
        path: Spider's `tables.json`, or a folder of `<db_id>/<db_id>.sqlite`.
        style: What the texts tell.

    Raises:
        QsqlError: If something cannot be read, or there is no database.
    """
    if path.is_dir():
        files = sorted(file for file in path.glob("*/*.sqlite") if file.stem == file.parent.name)
        if not files:
            raise QsqlError(f"no databases in `{path}`\nhint: it holds `<db_id>/<db_id>.sqlite`")
        return {file.stem: schema_text(tables_of_database(file, style.values), style) for file in files}
    return {db_id: schema_text(tables, style) for db_id, tables in read_spider_tables(path).items()}
