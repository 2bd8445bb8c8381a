"""Text-to-SQL evaluation: Spider's exact match and test-suite execution accuracy, native and safe.

>>> import qsql
>>> qsql.score("SELECT latin_name FROM species", "SELECT species.latin_name FROM species", "database/seed_bank")
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
from qsql.asynchronous import score_async

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
    "score_async",
]
