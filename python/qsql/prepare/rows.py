"""A training example on its way through preparation, and what was wrong with those that are left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

STAGES = {
    "encoding": "text that is broken: replacement characters, control characters, mis-decoded letters",
    "empty": "no question, no query or no schema, or a database that cannot be read",
    "syntax": "the query is not SQL",
    "compile": "the query does not compile against its own schema",
    "execution": "the query fails on the real database, or returns nothing",
    "leakage": "the database, the schema or the question is one of an evaluation set",
    "duplicate": "the same question, query and schema as an earlier example",
    "near_duplicate": "almost the question of an earlier example that has the same query and schema",
    "length": "prompt and answer are longer than the cutoff",
}
"""What each stage leaves out, in the order in which they run."""


@dataclass(frozen=True)
class Row:
    """An example as its source has it."""

    source: str
    """Which source it is from, as the report names it."""
    position: int
    """Its line in a text file, or its place in a list or table, from 1."""
    id: str
    question: str
    query: str
    schema: str
    db_id: str | None = None
    database: str | None = None
    """Path of its real database, if there is one."""
    problem: str | None = None
    """Why its schema could not be read, if it could not."""

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return place(self.source, self.position)


def place(source: str, position: int) -> str:
    """Say where an example stands: by the line of a file of lines, by the entry of a list in JSON."""
    word = {".json": "entry", ".jsonl": "line"}.get(PurePath(source).suffix, "item")
    return f"{source} {word} {position}"


@dataclass(frozen=True)
class Dropped:
    """An example that is left out, and why."""

    row: Row
    stage: str
    reason: str
    """The kind of fault within the stage, such as "no_such_column"."""
    detail: str
    """What was found, for people to read."""
