"""A gold and its prediction side by side: what differs in their texts, and in what they return."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from qsql._core import executed_text, query
from qsql.visible import literal, visible

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qsql._core import QueryResult

ROWS = 10
"""Rows of a result that are shown."""
MOST_ROWS = 1000
"""Rows of a result that are looked at."""
COLUMNS = 12
_LEXEMES = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\w+|\s+|.", re.DOTALL)
# How far marking may go: characters of both, and pairs of words that are the same in both, times the words of the
# shorter one. That bounds its time, which for text that is no query would be hours.
_MOST_CHARACTERS = 100_000
_MOST_WORK = 10_000_000


def differences(gold: str, prediction: str) -> tuple[list[str], list[str]]:
    """Cut two queries where they differ, for display.

    Case and space between words make no difference; inside quotes they do.

    Returns:
        The pieces of each, by turns common (from the first, which may be empty) and its own.
    """
    if len(gold) + len(prediction) > _MOST_CHARACTERS:
        return ["", visible(gold)], ["", visible(prediction)]
    left, right = (_LEXEMES.findall(visible(text)) for text in (gold, prediction))
    left_words, right_words = _words(left), _words(right)
    keys = ([_key(left[at]) for at in left_words], [_key(right[at]) for at in right_words])
    counts = [Counter(own) for own in keys]
    same = sum(count * counts[1][key] for key, count in counts[0].items())
    if same * min(map(len, keys)) > _MOST_WORK:
        return ["", visible(gold)], ["", visible(prediction)]
    blocks = SequenceMatcher(None, *keys, autojunk=False).get_matching_blocks()
    common_left = {left_words[block.a + step] for block in blocks for step in range(block.size)}
    common_right = {right_words[block.b + step] for block in blocks for step in range(block.size)}
    return _pieces(left, common_left), _pieces(right, common_right)


def _key(lexeme: str) -> str:
    return lexeme if lexeme[0] in "'\"" else lexeme.casefold()


def _words(lexemes: list[str]) -> list[int]:
    return [at for at, lexeme in enumerate(lexemes) if not lexeme.isspace()]


def _pieces(lexemes: list[str], common: set[int]) -> list[str]:
    pieces, is_own = [""], False
    for at, lexeme in enumerate(lexemes):
        if lexeme.isspace():
            # Space is marked only between two words that are.
            follows_own = at + 1 < len(lexemes) and at + 1 not in common
            own = is_own and follows_own
        else:
            own = at not in common
        if own != is_own:
            pieces.append("")
            is_own = own
        pieces[-1] += lexeme
    return pieces


@dataclass(frozen=True)
class Result:
    """What a query returned, cut to what is shown."""

    state: str
    """"ran", or why there is no result."""
    detail: str | None
    columns: list[str]
    rows: list[list[str]]
    own: list[bool]
    """Which of these rows the other result lacks, be it that it has them less often."""
    first: int
    """Index of the first of these rows; what differs may begin late."""
    count: int
    """Rows that were looked at."""
    is_whole: bool
    """Whether there are no more than these."""
    hidden_columns: int


@dataclass(frozen=True)
class Results:
    """What gold and prediction return on one database."""

    file: str
    gold: Result
    prediction: Result
    are_reordered: bool
    """Whether both have the same rows in another order, as far as they were looked at."""


def results_on(file: Path, gold: str, prediction: str, settings: Mapping[str, Any]) -> Results:
    """Run both queries as scoring runs them, and cut their results to where they begin to differ.

    Args:
        file: A `.sqlite` file.
        gold: The query that is right.
        prediction: The query that was compared with it.
        settings: `keep_distinct`, `timeout`, `max_steps` and `max_memory` of the run.

    Raises:
        QsqlError: If there is no such database.
    """
    keep = bool(settings["keep_distinct"])
    limits = {name: settings[name] for name in ("timeout", "max_steps", "max_memory")}
    texts = (
        executed_text(gold, keep_distinct=keep),
        executed_text(prediction, is_prediction=True, keep_distinct=keep),
    )
    left, right = (query(file, text, max_rows=MOST_ROWS, **limits) for text in texts)
    # Keys tell 1 from 1.0 and from '1', as the comparison of cells does.
    left_keys, right_keys = ([repr(row) for row in result.rows] for result in (left, right))
    left_own, right_own = _own(left_keys, right_keys), _own(right_keys, left_keys)
    shared = min(len(left_keys), len(right_keys))
    moved = next((at for at in range(shared) if left_keys[at] != right_keys[at]), 0)
    are_reordered = left_keys != right_keys and not any(left_own) and not any(right_own)
    return Results(file.name, _shown(left, left_own, moved), _shown(right, right_own, moved), are_reordered)


def _own(keys: list[str], others: list[str]) -> list[bool]:
    left = Counter(others)
    own = []
    for key in keys:
        own.append(left[key] == 0)
        left[key] -= not own[-1]
    return own


def _shown(result: QueryResult, own: list[bool], moved: int) -> Result:
    rows = result.rows
    # A row or two before it show the place.
    begin = next((at for at, is_own in enumerate(own) if is_own), moved)
    first = 0 if begin < ROWS else min(begin - 2, max(0, len(rows) - ROWS))
    return Result(
        result.state,
        None if result.detail is None else visible(result.detail),
        [visible(name) for name in result.columns[:COLUMNS]],
        [[literal(cell) for cell in row[:COLUMNS]] for row in rows[first : first + ROWS]],
        own[first : first + ROWS],
        first,
        len(rows),
        not result.truncated,
        max(0, len(result.columns) - COLUMNS),
    )
