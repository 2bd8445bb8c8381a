"""Examples and predictions: reads them from files and pairs them.

Knows the official text formats, Spider's JSON and JSON lines; knows nothing of databases, verdicts or prompts. Every
problem with a file is a `QsqlError` that names the file and the line.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.files import read_entries, read_text, text_lines
from qsql.shapes import ANY, TEXT, Kind, Nullable, Record
from qsql.visible import is_encodable, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Example:
    """A question of a benchmark with the query that answers it."""

    id: str
    db_id: str
    query: str
    question: str | None
    interaction: int
    """Which interaction it belongs to, from 0; all examples of a data set without interactions share one."""
    turn: int
    """Its position within the interaction, from 1."""
    place: str
    """Where it stands in its file, such as "line 3", or "entry 3" of a JSON list."""


@dataclass(frozen=True)
class Pairing:
    """One prediction for each example, and what did not fit."""

    predictions: list[str | None]
    missing: list[str] = field(default_factory=list)
    """Ids of the examples without a prediction."""
    surplus: int = 0
    """Predictions that belong to no example, and are not scored."""
    questions: dict[str, str] = field(default_factory=dict)
    """Questions that stand beside predictions, by the id of their example."""
    undecodable: list[str] = field(default_factory=list)
    """Places of predictions that are not UTF-8, such as "line 3"; they cannot be run."""


def read_examples(path: Path) -> list[Example]:
    """Read golds: `sql<TAB>db_id` lines with blank lines between interactions, or Spider's JSON list, or JSON lines.

    Raises:
        QsqlError: If the file cannot be read or an entry lacks something.
    """
    examples = _examples_from_json(path) if path.suffix in {".json", ".jsonl"} else _examples_from_lines(path)
    if not examples:
        raise QsqlError(f"no golds in `{path}`\nhint: each line is `sql<TAB>db_id`, or the file is Spider's JSON")
    seen: dict[str, str] = {}
    for example in examples:
        if example.id in seen:
            raise QsqlError(
                f"`{path}`: the id `{one_line(example.id, 60)}` is that of {seen[example.id]} and of {example.place}\n"
                "hint: make ids unique"
            )
        seen[example.id] = example.place
    return examples


def read_predictions(path: Path, examples: Sequence[Example]) -> Pairing:
    """Read predictions and pair them with `examples`: one SQL a line, or JSON lines with `sql` and perhaps `id`.

    Lines pair by position, within interactions where there are any. JSON lines that have ids pair by id; the id of an
    example without one is its position, from 0.

    Raises:
        QsqlError: If the file cannot be read, or its interactions are not those of the examples.
    """
    if path.suffix in {".json", ".jsonl"}:
        return _pair_json(path, examples)
    return _pair_lines(path, examples)


_ID = Nullable(Kind("a text or a number", (str, int, float)))
_EXAMPLE = Record({"query": TEXT, "db_id": TEXT}, {"id": _ID, "question": Nullable(TEXT)})
_PREDICTION = Record({"sql": Nullable(TEXT)}, {"id": _ID, "question": ANY})
_EXAMPLE_HINT = 'the file is a list of objects like {"query": "SELECT ...", "db_id": "...", "id": 17}'
_PREDICTION_HINT = 'each line is a prediction like {"sql": "SELECT ...", "id": 17}'


def _identity(item: dict[str, Any]) -> str | None:
    """The id of an entry as text; None if it has none."""
    found = item.get("id")
    return None if found is None else str(found)


def _examples_from_json(path: Path) -> list[Example]:
    examples = []
    for number, (place, item) in enumerate(read_entries(path, _EXAMPLE, hint=_EXAMPLE_HINT)):
        identity = _identity(item) or str(number)
        for key, text in (("query", item["query"]), ("id", identity)):
            if not is_encodable(text):
                raise QsqlError(
                    f"`{path}` {place}: `{key}` has a lone surrogate, which stands for no character\n"
                    "hint: mend or remove the entry"
                )
        examples.append(Example(identity, item["db_id"], item["query"], item.get("question"), 0, 1, place))
    return examples


def _examples_from_lines(path: Path) -> list[Example]:
    examples: list[Example] = []
    interaction = turn = 0
    for number, line in enumerate(text_lines(read_text(path)), 1):
        if not line.strip():
            interaction, turn = interaction + 1, 0
            continue
        fields = line.strip().split("\t")
        if len(fields) != 2:
            found = "no tab" if len(fields) == 1 else f"{len(fields) - 1} tabs"
            raise QsqlError(f"`{path}` line {number} has {found}\nhint: a gold line is `sql<TAB>db_id`")
        turn += 1
        examples.append(Example(str(len(examples)), fields[1], fields[0], None, interaction, turn, f"line {number}"))
    if not interaction:
        return [replace(example, turn=1) for example in examples]
    return examples


def _pair_lines(path: Path, examples: Sequence[Example]) -> Pairing:
    # Bytes that are not UTF-8 become lone surrogates, which the scorer takes for what they are.
    lines = text_lines(read_text(path, errors="surrogateescape"))
    undecodable = [f"line {number}" for number, line in enumerate(lines, 1) if not is_encodable(line)]
    texts = [line.strip().split("\t")[0] or None for line in lines]
    if examples[0].interaction != examples[-1].interaction:
        return replace(_pair_interactions(path, texts, examples), undecodable=undecodable)
    while len(texts) > len(examples) and texts[-1] is None:
        texts.pop()
    predictions = texts[: len(examples)] + [None] * (len(examples) - len(texts))
    return _pairing(predictions, examples, surplus=max(0, len(texts) - len(examples)), undecodable=undecodable)


def _pair_interactions(path: Path, texts: list[str | None], examples: Sequence[Example]) -> Pairing:
    sessions: list[list[str]] = [[]]
    for text in texts:
        if text is None:
            sessions.append([])
        else:
            sessions[-1].append(text)
    # As in the golds, blank lines at the end of the file have no interaction behind them.
    while sessions and not sessions[-1]:
        sessions.pop()
    expected = examples[-1].interaction + 1
    if len(sessions) != expected:
        raise QsqlError(
            f"`{path}` has {len(sessions)} interactions, the golds have {expected}\n"
            "hint: blank lines separate interactions, in both files; a turn without a prediction needs some text, "
            "such as `SELECT`"
        )
    predictions: list[str | None] = []
    for example in examples:
        session = sessions[example.interaction]
        predictions.append(session[example.turn - 1] if example.turn <= len(session) else None)
    paired = sum(prediction is not None for prediction in predictions)
    return _pairing(predictions, examples, surplus=sum(map(len, sessions)) - paired)


def _pair_json(path: Path, examples: Sequence[Example]) -> Pairing:
    entries = read_entries(path, _PREDICTION, hint=_PREDICTION_HINT)
    texts = [(item["sql"] or "").strip() or None for _, item in entries]
    undecodable = [place for (place, _), text in zip(entries, texts, strict=True) if text and not is_encodable(text)]
    ids = [_identity(item) for _, item in entries]
    if None in ids:
        predictions = texts[: len(examples)] + [None] * (len(examples) - len(texts))
        return _pairing(predictions, examples, surplus=max(0, len(texts) - len(examples)), undecodable=undecodable)
    by_id: dict[str, str | None] = {}
    questions: dict[str, str] = {}
    for (place, item), identity, text in zip(entries, map(str, ids), texts, strict=True):
        if identity in by_id:
            raise QsqlError(
                f"`{path}` {place} repeats the id `{one_line(identity, 60)}`\nhint: keep one prediction for each id"
            )
        by_id[identity] = text
        if isinstance(item.get("question"), str):
            questions[identity] = item["question"]
    known = {example.id for example in examples}
    if by_id and known.isdisjoint(by_id):
        some, other = one_line(next(iter(by_id)), 60), one_line(examples[0].id, 60)
        raise QsqlError(
            f"no id of `{path}` is one of the golds' (`{some}` here, `{other}` there)\n"
            "hint: leave `id` out to pair by position"
        )
    predictions = [by_id.get(example.id) for example in examples]
    found = _pairing(predictions, examples, surplus=len(by_id.keys() - known), undecodable=undecodable)
    return replace(found, questions=questions)


def _pairing(
    predictions: list[str | None], examples: Sequence[Example], surplus: int, undecodable: Sequence[str] = ()
) -> Pairing:
    pairs = zip(examples, predictions, strict=True)
    missing = [example.id for example, prediction in pairs if prediction is None]
    return Pairing(predictions, missing, surplus, undecodable=list(undecodable))
