"""Examples of evaluation sets in training data: by database, by schema, and by question."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qsql._core import QsqlError, describe_definitions
from qsql.prepare.compression import kind_of
from qsql.prepare.likeness import QuestionIndex, SchemaSignature, content_words, jaccard, words
from qsql.prepare.rows import place
from qsql.prepare.sources import COLUMNS, SUFFIXES, read_records, schemas_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qsql.prepare.rows import Row

_NAME = re.compile(r"[a-z_]\w*")


class Signatures:
    """Signatures of schema texts, each taken once."""

    def __init__(self) -> None:
        self._known: dict[str, SchemaSignature | None] = {}

    def of(self, schema: str) -> SchemaSignature | None:
        """Signature of a schema text; None if it does not compile."""
        if schema not in self._known:
            try:
                tables = describe_definitions(schema)
            except QsqlError:
                # Such rows are left out by the check of their queries, which says why.
                self._known[schema] = None
            else:
                listed = ((table["name"], [name for name, _, _ in table["columns"]]) for table in tables)
                self._known[schema] = SchemaSignature.of(listed)
        return self._known[schema]


class EvaluationSets:
    """What must not be in the training data."""

    def __init__(self, schema_likeness: float, signatures: Signatures) -> None:
        self._schema_likeness = schema_likeness
        self._signatures = signatures
        self._questions = QuestionIndex(_LEAST_WORDS)
        self._queries: list[frozenset[str]] = []
        self._sources: list[str] = []
        self._db_ids: dict[str, str] = {}
        self._schemas: dict[SchemaSignature, str] = {}
        self._findings: dict[str, tuple[str, str] | None] = {}

    def add(self, path: Path) -> int:
        """Read an evaluation file, with the schemas of a `tables.json` beside it; returns how many questions it has.

        Raises:
            QsqlError: If it cannot be read, or has neither questions nor databases.
        """
        if kind_of(path) not in SUFFIXES:
            raise QsqlError(f"`{path}` is of no known kind\nhint: an evaluation file ends in {', '.join(SUFFIXES)}")
        schemas, known = schemas_of(path), len(self._questions.questions)
        for position, record in read_records(path):
            if not isinstance(record, dict) or not ({"question", "db_id", "schema"} & record.keys()):
                raise QsqlError(
                    f"{place(f'`{path}`', position)} has neither question nor db_id\nhint: give Spider's dev.json"
                )
            self._add(path.name, position, record, schemas)
        return len(self._questions.questions) - known

    def _add(self, name: str, position: int, record: Mapping[str, object], schemas: Mapping[str, str]) -> None:
        where = place(name, position)
        question = str(record.get("question") or "")
        query = str(next((record[column] for column in COLUMNS["query"] if record.get(column)), ""))
        db_id = str(record.get("db_id") or "")
        schema = str(record.get("schema") or schemas.get(db_id, ""))
        if words(question):
            self._questions.add(question)
            self._queries.append(_names(query))
            self._sources.append(where)
        if db_id:
            self._db_ids.setdefault(db_id.casefold(), where)
        signature = self._signatures.of(schema) if schema.strip() else None
        if signature is not None and signature.columns:
            self._schemas.setdefault(signature, db_id or where)

    def find(self, row: Row) -> tuple[str, str] | None:
        """Tell by what a row is known from an evaluation set, and what was found; None if it is not."""
        if row.db_id is not None and (where := self._db_ids.get(row.db_id.casefold())):
            return "database", f"`{row.db_id}` is the database of {where}"
        if found := self._find_schema(row.schema):
            return found
        return self._find_question(row)

    def _find_schema(self, schema: str) -> tuple[str, str] | None:
        if schema not in self._findings:
            self._findings[schema] = None
            signature = self._signatures.of(schema)
            for other, name in self._schemas.items() if signature is not None and signature.columns else ():
                likeness = signature.likeness(other)  # type: ignore[union-attr]
                if likeness >= self._schema_likeness:
                    self._findings[schema] = "schema", f"{likeness:.0%} of the columns of `{name}`"
                    break
                if signature.is_part_of(other):  # type: ignore[union-attr]
                    self._findings[schema] = "schema", f"a part of `{name}`"
                    break
        return self._findings[schema]

    def _find_question(self, row: Row) -> tuple[str, str] | None:
        number = self._questions.same(row.question)
        if number is not None:
            return "question", f"{self._sources[number]}: {self._questions.questions[number]}"
        names = _names(row.query)
        for number, alike, letters in self._questions.similar(row.question):
            size = min(len(content_words(row.question)), len(content_words(self._questions.questions[number])))
            queries = jaccard(names, self._queries[number]) if names else 0.0
            if _is_rephrased(alike, letters, size, queries):
                return "question", f"{self._sources[number]}: {self._questions.questions[number]}"
        return None


_LEAST_WORDS = 0.45


def _is_rephrased(alike: float, letters: float, size: int, queries: float) -> bool:
    """Whether two questions are the same in other words.

    Questions on unrelated databases often differ in nothing but what they ask about, "singers" or "pilots". So either
    all content words agree, or nearly all of many, or the queries are about the same names too. The bounds were chosen
    on Spider: all of 1,034 dev questions that were lightly rephrased are found with their query, and 98% without
    (`benches/data.py`); so are 21 of the 7,000 training questions, which do ask what one of dev asks.

    Args:
        alike: Likeness in content words.
        letters: Likeness in letter triples.
        size: Content words of the shorter question.
        queries: Likeness of the names in the queries.
    """
    return (
        (alike >= 0.99 and letters >= 0.5)
        or (size >= 4 and alike >= 0.75 and letters >= 0.55)
        or (queries >= 0.75 and alike >= _LEAST_WORDS and letters >= 0.3)
    )


# What a query is about: its names, without the words of SQL, aliases and what stands in quotes.
_SQL_WORDS = frozenset(
    (
        "select from where group by order having limit distinct as on join inner left outer right cross natural and or "
        "not in is null like between exists union intersect except all any asc desc count sum avg min max case when "
        "then else end cast values with"
    ).split()
)
_ALIAS = re.compile(r"t\d+|[a-z]")
_QUOTED = re.compile(r"'[^']*'")


def _names(query: str) -> frozenset[str]:
    found = _NAME.findall(_QUOTED.sub(" ", query.casefold()))
    return frozenset(name for name in found if name not in _SQL_WORDS and not _ALIAS.fullmatch(name))
