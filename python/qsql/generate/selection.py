"""Which of several queries to take: checked natively against the schema, compared by what they mean.

A vote counts results where there is a database to run on, else canonical forms. Nothing here knows a model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from qsql._core import QsqlError, Scorer, canonicalize, check, describe_definitions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NO_SQL = "no_sql"
"""What is wrong with a completion in which there is no query."""
MAX_STEPS = 50_000_000
"""SQLite instructions for one query that may be voted for. One that needs more is out."""


@dataclass(frozen=True)
class Fault:
    """Why a query does not compile."""

    error: str
    """The kind, as `qsql.check` names it, or `no_sql`."""
    name: str | None = None
    """The name that does not exist or is ambiguous."""
    detail: str | None = None
    """What SQLite says."""


@dataclass(frozen=True)
class Choice:
    """The outcome of a vote."""

    chosen: int | None
    """Which query won; None if none could be voted for."""
    votes: int
    """How many mean the same as it."""
    compiling: int
    """How many compile."""
    ran: int | None
    """How many ran to their end; None without a database."""


def find_faults(schemas: Sequence[str], queries: Sequence[str]) -> list[Fault | None]:
    """Compile each query against the schema beside it; None is a query without fault.

    Raises:
        KeyboardInterrupt: Soon after Ctrl-C.
    """
    places = [place for place, query in enumerate(queries) if query]
    faults: list[Fault | None] = [Fault(NO_SQL)] * len(queries)
    found = check([schemas[place] for place in places], [queries[place] for place in places])
    for place, one in zip(places, found, strict=True):
        faults[place] = Fault(one.error, one.name, one.detail) if one.error is not None else None
    return faults


def make_scorer(database_dir: Path, db_ids: Sequence[str]) -> Scorer:
    """Open what votes run on.

    Raises:
        QsqlError: If a database is missing.
    """
    scorer = Scorer(database_dir, timeout=10.0, max_steps=MAX_STEPS)
    for db_id in dict.fromkeys(db_ids):
        scorer.databases(db_id)
    return scorer


def choose(
    groups: Sequence[Sequence[str]], schemas: Sequence[str], db_ids: Sequence[str], scorer: Scorer | None
) -> list[Choice]:
    """Vote within each group of queries: the meaning that most of those that compile have in common.

    Of several as common, and of several texts for it, the first one wins.

    Args:
        groups: Queries for one question each; empty texts stand for completions without one.
        schemas: `CREATE TABLE` statements of each group.
        db_ids: Database of each group.
        scorer: Runs what compiles on the main file of its database; without one, canonical forms are compared.

    Raises:
        QsqlError: If a database is missing.
        KeyboardInterrupt: Soon after Ctrl-C.
    """
    sizes = [len(group) for group in groups]
    flat = [query for group in groups for query in group]
    schema_of = [schema for schema, size in zip(schemas, sizes, strict=True) for _ in range(size)]
    faults = find_faults(schema_of, flat)
    # The same text is compiled and run once for its group, and counts as often as it is there.
    keys: list[object | None] = [None] * len(flat)
    compiling = [place for place, fault in enumerate(faults) if fault is None]
    if scorer is None:
        for place in compiling:
            keys[place] = canonical_form(flat[place], schema_of[place])
    else:
        db_of = [db_id for db_id, size in zip(db_ids, sizes, strict=True) for _ in range(size)]
        wanted = dict.fromkeys((db_of[place], flat[place]) for place in compiling)
        results = scorer.denotations([query for _, query in wanted], [db_id for db_id, _ in wanted])
        digests = {key: result.digest for key, result in zip(wanted, results, strict=True)}
        for place in compiling:
            keys[place] = digests[db_of[place], flat[place]]
    choices, start = [], 0
    for size in sizes:
        own = keys[start : start + size]
        valid = sum(fault is None for fault in faults[start : start + size])
        ran = None if scorer is None else sum(key is not None for key in own)
        counts = Counter(key for key in own if key is not None)
        if counts:
            winner, votes = counts.most_common(1)[0]  # of equal counts the one met first
            choices.append(Choice(own.index(winner), votes, valid, ran))
        else:
            choices.append(Choice(None, 0, valid, ran))
        start += size
    return choices


def canonical_form(query: str, schema: str) -> str:
    """One text for the many that mean the same; where there is none, the query with single spaces."""
    try:
        return canonicalize(query, _columns(schema))
    except QsqlError:
        # Not an error of the run: the form is only a way to count.
        return " ".join(query.split())


@lru_cache(maxsize=256)
def _columns(schema: str) -> dict[str, list[str]]:
    return {table["name"]: [name for name, _, _ in table["columns"]] for table in describe_definitions(schema)}
