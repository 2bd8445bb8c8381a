"""One question to one database: its schema, a query, and what is wrong with the query if it does not compile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qsql._core import QsqlError, describe_definitions
from qsql.config import nearest
from qsql.engines import Completion, Decoding, EngineSettings, Request, make_engine
from qsql.generate.selection import NO_SQL, Fault, choose, find_faults
from qsql.generate.settings import SAMPLING
from qsql.prompt import build_prompt, extract_sql
from qsql.schema_text import schema_text, tables_of_database

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from qsql.engines import Batch

REPAIR_SAMPLES = 8


@dataclass(frozen=True)
class Answer:
    """What a model answered."""

    sql: str
    """Empty if there is no query in the completion."""
    completion: Completion
    schema: str
    fault: Fault | None = None
    """Why the query does not compile."""

    def explanation(self) -> str | None:
        """What is wrong with the query, in a sentence and perhaps a suggestion; None if it compiles."""
        fault = self.fault
        if fault is None:
            return None
        if fault.error == NO_SQL:
            said = " ".join(self.completion.text.split())
            return f"the model gave no query; it said: {said[:500]}" if said else "the model said nothing"
        if fault.error == "schema":
            return f"the schema of the database cannot be checked against: {fault.detail}"
        cut = "; it was cut off at the most tokens" if self.completion.finish_reason == "length" else ""
        meant = _meant(fault, self.schema)
        return f"the query does not compile: {fault.detail}{cut}" + (f"; the database has `{meant}`" if meant else "")


def ask(database: Path, question: str, settings: EngineSettings, decoding: Decoding, *, repair: bool = False) -> Answer:
    """Ask a model for the query that answers a question on a database file.

    Args:
        database: A `.sqlite` file.
        question: In plain words.
        settings: The model and how it runs.
        decoding: How the query is drawn.
        repair: Draw 8 more where it does not compile, and take the most common that does.

    Raises:
        QsqlError: If the database cannot be read or the engine cannot go on.
    """
    if not question.strip():
        raise QsqlError('there is no question\nhint: put it in quotes, like "How many singers are there?"')
    schema = schema_text(tables_of_database(database))
    engine = make_engine(settings)
    try:
        request = Request("question", build_prompt(schema, question))
        (completion,) = _completions(engine.generate([request], replace(decoding, samples=1)))
        answer = _answer(completion, schema)
        if answer.fault is None or not repair:
            return answer
        sampling = Decoding(decoding.max_new_tokens, samples=REPAIR_SAMPLES, seed=decoding.seed, **SAMPLING)
        samples = _completions(engine.generate([request], sampling))
        (choice,) = choose([[extract_sql(one.text) for one in samples]], [schema], [""], None)
        return answer if choice.chosen is None else _answer(samples[choice.chosen], schema)
    finally:
        engine.close()


def _completions(batches: Iterable[Batch]) -> list[Completion]:
    return [completion for batch in batches for _, completions in batch for completion in completions]


def _answer(completion: Completion, schema: str) -> Answer:
    sql = extract_sql(completion.text)
    (fault,) = find_faults([schema], [sql])
    return Answer(sql, completion, schema, fault)


def _meant(fault: Fault, schema: str) -> str | None:
    """The name in the schema that is nearest to one that is not there."""
    if fault.name is None or fault.error not in {"no_such_table", "no_such_column"}:
        return None
    tables = describe_definitions(schema)
    wanted = fault.name.rpartition(".")[2].lower()
    names = [table["name"] for table in tables]
    if fault.error == "no_such_column":
        names = [f"{table['name']}.{column}" for table in tables for column, _, _ in table["columns"]]
    by_own_name = {name.rpartition(".")[2].lower(): name for name in reversed(names)}
    found = nearest(wanted, list(by_own_name))
    return None if found is None else by_own_name[found]
