"""The engine that echoes the gold, so that the whole loop runs without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.engines import Completion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qsql.engines import Batch, Decoding, Request

BATCH = 256


class GoldEngine:
    """Answers every request with its gold; a token is a word."""

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[Batch]:
        """Echo the golds.

        Raises:
            QsqlError: If a request has none, before any is answered.
        """
        for request in requests:
            if request.answer is None:
                raise QsqlError(
                    f"the question `{request.key}` has no gold, which the engine `gold` echoes\n"
                    "hint: give the questions a `query`, or choose another engine"
                )
        for start in range(0, len(requests), BATCH):
            yield [
                (start + offset, [_echo(request.answer or "")] * decoding.samples)
                for offset, request in enumerate(requests[start : start + BATCH])
            ]

    def describe(self) -> dict[str, Any]:
        """Nothing: the golds are the questions' own."""
        return {}

    def close(self) -> None:
        """Do nothing."""


def _echo(answer: str) -> Completion:
    return Completion(answer, len(answer.split()), "stop", 0.0)
