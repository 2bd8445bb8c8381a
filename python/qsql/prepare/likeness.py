"""When two questions or two schemas are almost the same.

Questions are compared as sets of letter triples and of content words, schemas as sets of columns; a likeness is always
the Jaccard index of two sets, between 0 and 1.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

_WORD = re.compile(r"\w+")
# Words that questions share whatever they ask for.
_COMMON = frozenset(
    (
        "a all an and any are as at be been being by can could count did different display distinct do does "
        "each every find for from get give had has have her his how i id identify in is it its just kindly "
        "know let like list many me much name need number of on one or our out please provide report return "
        "see select she show tell that the their them there these they this those to total under us want was "
        "we were what when where which who whom whose will with without would you your"
    ).split()
)


def words(text: str) -> list[str]:
    """Words of a text without case and punctuation."""
    return _WORD.findall(text.casefold())


def triples(text: str) -> frozenset[str]:
    """Runs of three letters of a text, whose words are joined by single spaces."""
    plain = " ".join(words(text))
    return frozenset(plain[at : at + 3] for at in range(max(1, len(plain) - 2)))


def content_words(text: str) -> frozenset[str]:
    """Words of a question that tell what it is about, without their plural."""
    found = (word.removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word for word in words(text))
    return frozenset(word for word in found if word not in _COMMON)


def jaccard(one: AbstractSet[object], other: AbstractSet[object]) -> float:
    """Share of what two sets have in common; 1 for two empty ones."""
    return len(one & other) / len(one | other) if one or other else 1.0


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


@dataclass(frozen=True)
class SchemaSignature:
    """What a schema is known by: its columns with and without their tables, in any spelling and order."""

    columns: frozenset[tuple[str, str]]
    names: frozenset[str]
    tables: int

    @staticmethod
    def of(tables: Iterable[tuple[str, Sequence[str]]]) -> SchemaSignature:
        """Take the signature of names of tables with names of their columns."""
        listed = [(_plain(table), [_plain(column) for column in columns]) for table, columns in tables]
        columns = frozenset((table, column) for table, names in listed for column in names)
        return SchemaSignature(columns, frozenset(column for _, column in columns), len(listed))

    def likeness(self, other: SchemaSignature) -> float:
        """How much of two schemas is the same, whether or not their tables have other names."""
        if len(self.names) < _FEW_COLUMNS or len(other.names) < _FEW_COLUMNS:
            return jaccard(self.columns, other.columns)
        return max(jaccard(self.columns, other.columns), jaccard(self.names, other.names))

    def is_part_of(self, other: SchemaSignature) -> bool:
        """Whether it is the other one without some of its tables, and too large for that to be chance."""
        return self.tables > 1 and len(self.columns) >= _MANY_COLUMNS and self.columns <= other.columns


# Columns such as id and name say nothing alone.
_FEW_COLUMNS = 5
_MANY_COLUMNS = 8


@dataclass
class QuestionIndex:
    """Questions that can be found by others that are almost the same."""

    likeness: float
    """Least likeness in content words of a question that is found."""
    questions: list[str] = field(default_factory=list)
    _content: list[frozenset[str]] = field(default_factory=list)
    _triples: list[frozenset[str]] = field(default_factory=list)
    _postings: dict[str, list[int]] = field(default_factory=dict)
    _exact: dict[str, int] = field(default_factory=dict)

    def add(self, question: str) -> None:
        """Put in one more."""
        number = len(self.questions)
        content = content_words(question)
        self.questions.append(question)
        self._content.append(content)
        self._triples.append(triples(question))
        self._exact.setdefault(" ".join(words(question)), number)
        for word in content:
            self._postings.setdefault(word, []).append(number)

    def same(self, question: str) -> int | None:
        """Number of the question that has the same words in the same order, if there is one."""
        return self._exact.get(" ".join(words(question)))

    def similar(self, question: str) -> list[tuple[int, float, float]]:
        """Find questions that are like this one in content words: number, that likeness, and that of letter triples."""
        content = content_words(question)
        shared = Counter(number for word in content for number in self._postings.get(word, ()))
        found = []
        for number, count in shared.items():
            likeness = count / (len(content) + len(self._content[number]) - count)
            if likeness >= self.likeness:
                found.append((number, likeness, jaccard(triples(question), self._triples[number])))
        return sorted(found, key=lambda item: (-item[1], -item[2], item[0]))
