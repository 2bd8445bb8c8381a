"""Text-to-SQL evaluation: Spider's test-suite execution accuracy, native and safe.

>>> import qsql
>>> qsql.score("SELECT count(*) FROM t", "SELECT count(1) FROM t", "t.sqlite")  # doctest: +SKIP
Verdict(execution=True, state='scored')

Importing this loads neither numpy nor any machine-learning package.
"""

from qsql._core import QsqlError, Scorer, Verdict, __version__, score

__all__ = ["QsqlError", "Scorer", "Verdict", "__version__", "score"]
