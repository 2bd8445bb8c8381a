"""Questions to answer, read from whatever holds them: a benchmark, a prepared data set, or JSON lines.

Each comes with its prompt and the schema that its query is checked against. Every problem with a file is a `QsqlError`
that names the file and the entry, before any model is loaded.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.dataset_info import FILE as DATASET_INFO
from qsql.dataset_info import entry_of
from qsql.files import read_entries, read_json
from qsql.paths import is_inside
from qsql.prompt import build_prompt
from qsql.schema_text import Schemas, schema_text, tables_of_database
from qsql.shapes import ANY, TEXT, Kind, Nullable, Record
from qsql.visible import encodable, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_ENTRY = Record(
    {},
    {
        "id": Nullable(Kind("a text or a number", (str, int, float))),
        **dict.fromkeys(
            ("question", "db_id", "instruction", "schema", "input", "output", "db", "query"), Nullable(TEXT)
        ),
        # In Spider's files, the tree of the query.
        "sql": ANY,
    },
)
_HINT = 'questions are a JSON list, or JSON lines, of objects like {"question": "...", "db_id": "..."}'


@dataclass(frozen=True)
class Question:
    """A question on a database."""

    id: str
    db_id: str
    question: str
    prompt: str
    schema: str
    """`CREATE TABLE` statements."""
    gold: str | None = None

    def prompt_hash(self) -> str:
        """SHA-256 of the prompt."""
        return hashlib.sha256(self.prompt.encode()).hexdigest()


def read_questions(
    data: Path, tables: Path | None = None, database_dir: Path | None = None, split: str = "validation"
) -> list[Question]:
    """Read questions.

    Args:
        data: Spider's or BIRD's JSON; a prepared data set, its folder or one of its JSON files; or JSON lines with
            `question` and either `schema` (the text), `db` (a database file, relative to `data`) or `db_id`.
        tables: Spider's `tables.json`, for the schemas of questions that have only a `db_id`.
        database_dir: Folder of `<db_id>/<db_id>.sqlite`, for the same without `tables`.
        split: Entry of a data set folder to read.

    Raises:
        QsqlError: If something cannot be read, an entry lacks something, or there are no questions.
    """
    path = _split_file(data, split) if data.is_dir() else data
    entries = read_entries(path, _ENTRY, hint=_HINT)
    schemas: Schemas | None = None

    def schema_of(db_id: str) -> str | None:
        nonlocal schemas
        if schemas is None:
            if tables is None and database_dir is None:
                raise QsqlError(
                    f"the questions of `{path}` name databases, but there is nothing to read their schemas from\n"
                    "hint: give `--tables tables.json` or `--db` with the folder of the databases"
                )
            schemas = Schemas(tables) if tables is not None else Schemas(databases=database_dir)
        return schemas.text(db_id)

    questions: list[Question] = []
    places: dict[str, str] = {}
    for number, (place, entry) in enumerate(entries):

        def schema_here(db_id: str, place: str = place) -> str | None:
            try:
                return schema_of(db_id)
            except QsqlError as error:
                raise QsqlError(f"`{path}` {place}: {error}") from None

        question = _question(path, place, number, entry, schema_here)
        if question.id in places:
            raise QsqlError(
                f"`{path}`: the id `{one_line(question.id, 60)}` is that of {places[question.id]} and of {place}\n"
                "hint: make ids unique, or leave them out"
            )
        places[question.id] = place
        questions.append(question)
    if not questions:
        raise QsqlError(f"no questions in `{path}`\nhint: check the path")
    return questions


def _split_file(folder: Path, split: str) -> Path:
    info_path = folder / DATASET_INFO
    if not info_path.is_file():
        raise QsqlError(
            f"`{folder}` is no prepared data set: it has no `{DATASET_INFO}`\n"
            "hint: give a folder that `qsql data prepare` wrote, or a file of questions"
        )
    info = read_json(info_path, hint="give a folder that `qsql data prepare` wrote")
    entry = entry_of(info_path, info, split, "`--split`")
    file = folder / entry.file_name
    if not file.is_file():
        raise QsqlError(
            f"`{info_path}` names `{entry.file_name}`, which is not there\nhint: prepare the data set again"
        )
    return file


def _question(
    path: Path, place: str, number: int, entry: Mapping[str, Any], schema_of: Callable[[str], str | None]
) -> Question:
    def text(key: str) -> str | None:
        value = entry.get(key)
        return None if value is None else encodable(value)

    question, db_id = text("question"), text("db_id")
    identity = encodable(str(number if entry.get("id") is None else entry["id"]))
    if (prompt := text("instruction")) is not None:
        schema = text("schema")
        if schema is None:
            raise QsqlError(
                f"`{path}` {place} has an `instruction` but no `schema`, which queries are checked against\n"
                "hint: prepare the data set with `qsql data prepare`"
            )
        # The very prompt that the model was trained on, with what LLaMA-Factory puts behind it.
        behind = text("input")
        prompt = f"{prompt}\n{behind}" if behind else prompt
        return Question(identity, db_id or "", question or prompt, prompt, schema, text("output"))
    if question is None:
        raise QsqlError(f"`{path}` {place} has no `question`\nhint: an entry is a question on a database")
    schema, database = text("schema"), text("db")
    if schema is None and database is not None:
        file = _beside(path, place, database)
        schema, db_id = schema_text(tables_of_database(file)), db_id or file.stem
    if schema is None and db_id is not None:
        schema = schema_of(db_id)
        if schema is None:
            raise QsqlError(f"`{path}` {place}: there is no database `{db_id}`\nhint: check `--tables` or `--db`")
    if schema is None:
        raise QsqlError(f"`{path}` {place} has no database\nhint: it needs `db_id`, `schema` or `db`")
    gold = text("query")
    if gold is None and isinstance(entry.get("sql"), str):
        gold = text("sql")
    return Question(identity, db_id or "", question, build_prompt(schema, question), schema, gold)


def _beside(path: Path, place: str, database: str) -> Path:
    """The database that an entry names. No name leads out of the folder of its file; a link there is the user's own."""
    if not is_inside(database.removeprefix("./")):
        raise QsqlError(
            f"`{path}` {place}: `db` is `{database}`, which lies outside of the folder of the file\n"
            "hint: put the database, or a link to it, beside the questions, and name it by a path from there"
        )
    return path.parent / database
