"""Text-to-SQL evaluation: Spider's exact match and test-suite execution accuracy, native and safe.

>>> import qsql
>>> qsql.score("SELECT count(*) FROM t", "SELECT count(1) FROM t", "t.sqlite")  # doctest: +SKIP
Verdict(execution=True, exact=True, state='scored')

Importing this loads neither numpy nor any machine-learning package.
"""

from qsql._core import (
    Check,
    Denotation,
    ExactMatch,
    QsqlError,
    QueryResult,
    Schema,
    Scorer,
    Verdict,
    __version__,
    canonicalize,
    check,
    exact_match,
    hardness,
    query,
    score,
)

__all__ = [
    "Check",
    "Denotation",
    "ExactMatch",
    "QsqlError",
    "QueryResult",
    "Schema",
    "Scorer",
    "Verdict",
    "__version__",
    "canonicalize",
    "check",
    "exact_match",
    "hardness",
    "query",
    "score",
]
