"""The stages that leave examples out, each a function from rows to those that it keeps and those that it drops.

They run in the order of `rows.STAGES`; each sees only what the earlier ones have kept.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qsql._core import QsqlError, Scorer, canonicalize, check
from qsql.prepare.likeness import jaccard, triples, words
from qsql.prepare.rows import Dropped, Row
from qsql.prompt import build_prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsql.prepare.leakage import EvaluationSets, Signatures
    from qsql.prepare.tokens import TokenCounter

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
_PERMUTATIONS = 128


@dataclass(frozen=True)
class Outcome:
    """What a stage made of the rows it saw."""

    kept: list[Row]
    dropped: list[Dropped]


class _Sorter:
    """Puts rows where they belong."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self.outcome = Outcome([], [])

    def put(self, row: Row, fault: tuple[str, str] | None) -> None:
        """Keep a row, or drop it for a reason with its detail."""
        if fault is None:
            self.outcome.kept.append(row)
        else:
            self.outcome.dropped.append(Dropped(row, self._stage, *fault))


def drop_broken_text(rows: Sequence[Row]) -> Outcome:
    """Drop rows whose text was damaged on its way: what could not be decoded, or was decoded as something else."""
    try:
        from ftfy.badness import is_bad  # noqa: PLC0415 - needs an extra
    except ImportError:
        raise QsqlError("the stage `encoding` needs ftfy\nhint: pip install 'qsql-lab[data]'") from None

    def fault(row: Row) -> tuple[str, str] | None:
        for name, text in (("question", row.question), ("query", row.query), ("schema", row.schema)):
            if "\ufffd" in text:
                return "undecodable", f"the {name} has characters that could not be decoded"
            if control := _CONTROL.search(text):
                return "control_character", f"the {name} has the control character U+{ord(control[0]):04X}"
            if not text.isascii() and is_bad(text):
                return "mis-decoded", f"the {name} was written in UTF-8 and read as something else"
        return None

    sorter = _Sorter("encoding")
    for row in rows:
        sorter.put(row, fault(row))
    return sorter.outcome


def drop_empty(rows: Sequence[Row]) -> Outcome:
    """Drop rows that lack a question, a query or a schema."""
    sorter = _Sorter("empty")
    for row in rows:
        fields = (("question", row.question), ("query", row.query.strip().rstrip(";")), ("schema", row.schema))
        missing = next((name for name, text in fields if not text.strip()), None)
        if missing == "schema" and row.problem is not None:
            sorter.put(row, ("unreadable_database", row.problem))
        else:
            sorter.put(row, None if missing is None else (f"no_{missing}", f"the {missing} is empty"))
    return sorter.outcome


def drop_unparsable_and_uncompilable(
    rows: Sequence[Row], stages: Sequence[str], progress: Callable[[int, int], object] | None = None
) -> tuple[Outcome, Outcome]:
    """Compile all queries at once: the stages `syntax` and `compile`."""
    syntax, compiled = _Sorter("syntax"), _Sorter("compile")
    found = check([row.schema for row in rows], [row.query for row in rows], progress=progress)
    passed = []
    for row, item in zip(rows, found, strict=True):
        wrong = item.error == "syntax" and "syntax" in stages
        syntax.put(row, ("syntax", str(item.detail)) if wrong else None)
        if not wrong:
            passed.append((row, item))
    for row, item in passed:
        wrong = item.error not in {None, "syntax"} and "compile" in stages
        compiled.put(row, (str(item.error), str(item.detail)) if wrong else None)
    return syntax.outcome, compiled.outcome


def drop_unexecutable(
    rows: Sequence[Row],
    max_steps: int,
    *,
    keep_empty: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Outcome:
    """Run the queries of rows that have a real database; drop those that fail there, or return nothing."""
    places: defaultdict[Path, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        if row.database is not None:
            places[Path(row.database).parent.parent].append(index)
    faults: dict[int, tuple[str, str]] = {}
    for folder, indices in places.items():
        # Steps bound the work alike on every machine; the clock is a last resort.
        scorer = Scorer(folder, max_steps=max_steps, timeout=600.0, variants=False)
        db_of = {index: Path(str(rows[index].database)).stem for index in indices}
        problems = {db_id: _problem(scorer, db_id) for db_id in dict.fromkeys(db_of.values())}
        faults |= {index: problem for index in indices if (problem := problems[db_of[index]]) is not None}
        usable = [index for index in indices if problems[db_of[index]] is None]
        queries, db_ids = [rows[index].query for index in usable], [db_of[index] for index in usable]
        for index, found in zip(usable, scorer.denotations(queries, db_ids, progress=progress), strict=True):
            if found.state != "ran":
                faults[index] = (found.state, str(found.detail))
            elif found.rows == 0 and not keep_empty:
                faults[index] = ("empty_result", "it returns no rows")
    sorter = _Sorter("execution")
    for index, row in enumerate(rows):
        sorter.put(row, faults.get(index))
    return sorter.outcome


def _problem(scorer: Scorer, db_id: str) -> tuple[str, str] | None:
    """Why no query can run on a database, if none can."""
    try:
        scorer.databases(db_id)
    except QsqlError as error:
        return "database_error", str(error).partition("\nhint: ")[0]
    return None


def drop_leaks(
    rows: Sequence[Row], sets: EvaluationSets, progress: Callable[[int, int], object] | None = None
) -> Outcome:
    """Drop rows that are known from an evaluation set."""
    sorter = _Sorter("leakage")
    for number, row in enumerate(rows):
        sorter.put(row, sets.find(row))
        if progress is not None and number % 500 == 0:
            progress(number, len(rows))
    return sorter.outcome


def _group(row: Row, signatures: Signatures) -> object:
    """What rows with the same schema share."""
    signature = signatures.of(row.schema)
    return signature.columns if signature is not None else row.schema


def _query_key(query: str) -> str:
    """What queries that differ in spelling alone share: the canonical form, or else the text without extra spaces."""
    try:
        return canonicalize(query)
    except QsqlError:
        # What has no canonical form is compared as it is written.
        return " ".join(query.rstrip("; \n\t").split())


def drop_duplicates(rows: Sequence[Row], signatures: Signatures) -> Outcome:
    """Drop rows that ask the same on the same schema with the same query as an earlier one."""
    sorter = _Sorter("duplicate")
    first: dict[object, Row] = {}
    for row in rows:
        key = (_group(row, signatures), " ".join(words(row.question)), _query_key(row.query))
        earlier = first.setdefault(key, row)
        sorter.put(row, None if earlier is row else ("same", f"as {earlier.place}"))
    return sorter.outcome


def drop_near_duplicates(
    rows: Sequence[Row],
    signatures: Signatures,
    likeness: float,
    progress: Callable[[int, int], object] | None = None,
) -> Outcome:
    """Drop rows whose question is almost that of an earlier one with the same query on the same schema.

    Candidates are found by MinHash (Broder 1997) over letter triples, and confirmed by the Jaccard index itself. Rows
    with other queries never are duplicates, however alike their questions: "older than 56" and "older than 65" are two
    examples.
    """
    try:
        from datasketch import MinHash, MinHashLSH  # noqa: PLC0415 - needs an extra
    except ImportError:
        raise QsqlError("the stage `near_duplicate` needs datasketch\nhint: pip install 'qsql-lab[data]'") from None
    groups: dict[object, int] = {}
    places = [groups.setdefault((_group(row, signatures), _query_key(row.query)), len(groups)) for row in rows]
    sizes = Counter(places)
    # Bands are chosen for a threshold below, so that candidates at the threshold itself are not missed by chance.
    found = MinHashLSH(threshold=max(0.1, likeness - 0.3), num_perm=_PERMUTATIONS)
    empty = MinHash(num_perm=_PERMUTATIONS, seed=1)
    faults: dict[int, tuple[str, str]] = {}
    sets: dict[int, frozenset[str]] = {}
    for index, (row, place) in enumerate(zip(rows, places, strict=True)):
        if progress is not None and index % 500 == 0:
            progress(index, len(rows))
        if sizes[place] == 1:
            continue
        sets[index] = triples(row.question)
        # With the group in each element, only rows of the same group have any in common.
        sketch = empty.copy()
        sketch.update_batch([f"{place} {triple}".encode() for triple in sorted(sets[index])])
        for other in sorted(found.query(sketch)):
            alike = jaccard(sets[index], sets[other])
            if places[other] == place and alike >= likeness:
                faults[index] = ("question", f"{alike:.0%} as {rows[other].place}: {rows[other].question}")
                break
        else:
            found.insert(index, sketch)
    sorter = _Sorter("near_duplicate")
    for index, row in enumerate(rows):
        sorter.put(row, faults.get(index))
    return sorter.outcome


def drop_long(rows: Sequence[Row], lengths: Sequence[int], cutoff: int) -> Outcome:
    """Drop rows whose prompt and answer together have more tokens than the cutoff, where training would cut them."""
    sorter = _Sorter("length")
    for row, length in zip(rows, lengths, strict=True):
        sorter.put(row, ("too_long", f"{length} tokens, the cutoff is {cutoff}") if length > cutoff else None)
    return sorter.outcome


def token_lengths(rows: Sequence[Row], counter: TokenCounter) -> list[int]:
    """Count the tokens of prompt and answer of each row."""
    return counter.count([(build_prompt(row.schema, row.question), answer(row)) for row in rows])


def answer(row: Row) -> str:
    """What a model is to answer: the query without its semicolon."""
    return row.query.strip().rstrip(";").rstrip()
