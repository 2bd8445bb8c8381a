"""Examples and predictions: reads them from files and pairs them.

Knows the official text formats, Spider's JSON and JSON lines; knows nothing of databases, verdicts or prompts. Every
problem with a file is a `QsqlError` that names the file and the line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError

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
    line: int
    """Line of its file, or position in its JSON list, from 1."""


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


def read_examples(path: Path) -> list[Example]:
    """Read golds: `sql<TAB>db_id` lines with blank lines between interactions, or Spider's JSON list, or JSON lines.

    Raises:
        QsqlError: If the file cannot be read or an entry lacks something.
    """
    if path.suffix in {".json", ".jsonl"}:
        examples = [_example_from_json(path, number, item) for number, item in _read_json(path)]
    else:
        examples = _examples_from_lines(path)
    if not examples:
        raise QsqlError(f"no golds in `{path}`\nhint: each line is `sql<TAB>db_id`, or the file is Spider's JSON")
    seen: dict[str, int] = {}
    for example in examples:
        if example.id in seen:
            lines = f"{seen[example.id]} and {example.line}"
            raise QsqlError(
                f"two golds of `{path}` have the id `{example.id}` (entries {lines})\nhint: make ids unique"
            )
        seen[example.id] = example.line
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


def _read_text(path: Path, errors: str) -> str:
    try:
        return path.read_text(encoding="utf-8", errors=errors)
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise QsqlError(
            f"`{path}` line {line} is not valid UTF-8\nhint: convert the file, for instance with `iconv -t UTF-8`"
        ) from None
    except OSError as error:
        raise QsqlError(f"cannot read `{path}`: {error.strerror}\nhint: check the path and its permissions") from None


def _lines(text: str) -> list[str]:
    """Split at line breaks as the official tool does (`str.splitlines` knows more of them)."""
    lines = text.split("\n")  # reading has turned \r\n and \r into \n
    return lines[:-1] if lines[-1] == "" else lines


def _read_json(path: Path) -> list[tuple[int, dict[str, Any]]]:
    text = _read_text(path, "strict").removeprefix("\ufeff")
    items: list[tuple[int, Any]] = []
    if path.suffix == ".jsonl":
        for number, line in enumerate(_lines(text), 1):
            if line.strip():
                try:
                    items.append((number, json.loads(line)))
                except json.JSONDecodeError as error:
                    raise QsqlError(
                        f"`{path}` line {number} is not JSON: {error}\nhint: each line is one object"
                    ) from None
    else:
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise QsqlError(f"`{path}` is not JSON: {error}\nhint: Spider's files are one list of objects") from None
        if not isinstance(document, list):
            raise QsqlError(f"`{path}` is not a list\nhint: Spider's files are one list of objects")
        items = list(enumerate(document, 1))
    for number, item in items:
        if not isinstance(item, dict):
            raise QsqlError(f'`{path}` entry {number} is not an object\nhint: entries look like {{"db_id": ...}}')
    return items


def _example_from_json(path: Path, number: int, item: dict[str, Any]) -> Example:
    for key in ("query", "db_id"):
        if not isinstance(item.get(key), str):
            raise QsqlError(f"`{path}` entry {number} has no `{key}`\nhint: an entry needs `query` and `db_id`")
    return Example(
        id=str(item.get("id", number - 1)),
        db_id=item["db_id"],
        query=item["query"],
        question=item.get("question"),
        interaction=0,
        turn=1,
        line=number,
    )


def _examples_from_lines(path: Path) -> list[Example]:
    examples: list[Example] = []
    interaction = turn = 0
    for number, line in enumerate(_lines(_read_text(path, "strict").removeprefix("\ufeff")), 1):
        if not line.strip():
            interaction, turn = interaction + 1, 0
            continue
        fields = line.strip().split("\t")
        if len(fields) != 2:
            found = "no tab" if len(fields) == 1 else f"{len(fields) - 1} tabs"
            raise QsqlError(f"`{path}` line {number} has {found}\nhint: a gold line is `sql<TAB>db_id`")
        turn += 1
        examples.append(Example(str(len(examples)), fields[1], fields[0], None, interaction, turn, number))
    if not interaction:
        return [replace(example, turn=1) for example in examples]
    return examples


def _pair_lines(path: Path, examples: Sequence[Example]) -> Pairing:
    # Bytes that are not UTF-8 become lone surrogates, which the scorer takes for what they are.
    lines = _lines(_read_text(path, "surrogateescape"))
    texts = [line.strip().split("\t")[0] or None for line in lines]
    if examples[0].interaction != examples[-1].interaction:
        return _pair_interactions(path, texts, examples)
    while len(texts) > len(examples) and texts[-1] is None:
        texts.pop()
    predictions = texts[: len(examples)] + [None] * (len(examples) - len(texts))
    return _pairing(predictions, examples, surplus=max(0, len(texts) - len(examples)))


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
    items = _read_json(path)
    for number, item in items:
        if not isinstance(item.get("sql"), str | None) or "sql" not in item:
            raise QsqlError(f'`{path}` line {number} has no `sql`\nhint: a prediction is {{"sql": ..., "id": ...}}')
    texts = [(item["sql"] or "").strip() or None for _, item in items]
    if not all("id" in item for _, item in items):
        predictions = texts[: len(examples)] + [None] * (len(examples) - len(texts))
        return _pairing(predictions, examples, surplus=max(0, len(texts) - len(examples)))
    by_id: dict[str, str | None] = {}
    for (number, item), text in zip(items, texts, strict=True):
        if str(item["id"]) in by_id:
            raise QsqlError(f"`{path}` line {number} repeats the id `{item['id']}`\nhint: keep one line for each id")
        by_id[str(item["id"])] = text
    known = {example.id for example in examples}
    if by_id and known.isdisjoint(by_id):
        some, other = next(iter(by_id)), examples[0].id
        raise QsqlError(
            f"no id of `{path}` is one of the golds' (`{some}` here, `{other}` there)\n"
            "hint: leave `id` out to pair by position"
        )
    predictions = [by_id.get(example.id) for example in examples]
    questions = {str(item["id"]): item["question"] for _, item in items if isinstance(item.get("question"), str)}
    return replace(_pairing(predictions, examples, surplus=len(by_id.keys() - known)), questions=questions)


def _pairing(predictions: list[str | None], examples: Sequence[Example], surplus: int) -> Pairing:
    pairs = zip(examples, predictions, strict=True)
    return Pairing(predictions, [example.id for example, prediction in pairs if prediction is None], surplus)
