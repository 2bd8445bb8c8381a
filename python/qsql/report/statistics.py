"""Whether two sets of verdicts on the same examples differ by more than chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qsql._core import QsqlError

if TYPE_CHECKING:
    from collections.abc import Sequence

RESAMPLES = 10_000
SEED = 0


@dataclass(frozen=True)
class Paired:
    """How verdicts of a run compare with those of another on the same examples."""

    count: int
    """Examples on which both have a verdict."""
    won: int
    """Wrong in the first, right in the second."""
    lost: int
    """Right in the first, wrong in the second."""
    first: float | None
    """Share of right ones in the first; None of nothing."""
    second: float | None
    difference: float | None
    """Second minus first."""
    interval: tuple[float, float] | None
    """95% interval of the difference."""
    p_value: float | None
    """McNemar's exact test, two-sided."""


def paired(first: Sequence[bool | None], second: Sequence[bool | None]) -> Paired:
    """Compare verdicts on the same examples; an example without a verdict in either counts in neither.

    Raises:
        QsqlError: If scipy is not installed.
        ValueError: If the lists differ in length.
    """
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    count = len(pairs)
    won, lost = sum(b and not a for a, b in pairs), sum(a and not b for a, b in pairs)
    if count == 0:
        return Paired(0, 0, 0, None, None, None, None, None)
    return Paired(
        count,
        won,
        lost,
        sum(a for a, _ in pairs) / count,
        sum(b for _, b in pairs) / count,
        (won - lost) / count,
        bootstrap_interval(won, lost, count),
        mcnemar(won, lost),
    )


def bootstrap_interval(won: int, lost: int, count: int) -> tuple[float, float]:
    """95% percentile interval of the difference of two shares, by the paired bootstrap (Efron and Tibshirani 1993).

    A resample draws `count` examples with replacement. Its difference depends only on how many of them are won and
    lost, which are multinomial: so they are drawn at once. The same counts give the same interval.
    """
    random = np.random.default_rng(SEED)
    shares = [won / count, lost / count, (count - won - lost) / count]
    drawn = random.multinomial(count, shares, size=RESAMPLES)
    low, high = np.percentile((drawn[:, 0] - drawn[:, 1]) / count, [2.5, 97.5])
    return float(low), float(high)


def mcnemar(won: int, lost: int) -> float:
    """Two-sided p-value of McNemar's exact test: whether won and lost examples are equally likely (McNemar 1947).

    Raises:
        QsqlError: If scipy is not installed.
    """
    if won + lost == 0:
        return 1.0
    try:
        from scipy.stats import binomtest  # noqa: PLC0415 - an extra, and heavy
    except ImportError as error:
        message = f"comparisons need {error.name}, which is not installed\nhint: pip install 'qsql-lab[report]'"
        raise QsqlError(message) from None
    return float(binomtest(won, won + lost).pvalue)
