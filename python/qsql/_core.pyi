"""The native half of qsql: the evaluator. Import its names from `qsql`."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal, TypeAlias, TypedDict, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import NotRequired

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
    "database_file",
    "describe",
    "describe_definitions",
    "exact_match",
    "executed_text",
    "hardness",
    "query",
    "score",
    "sqlite_compile_options",
    "sqlite_version",
    "suite_files",
]

__version__: str

_Etype: TypeAlias = Literal["all", "exec", "match"]
_Hardness: TypeAlias = Literal["easy", "medium", "hard", "extra"]
_State: TypeAlias = Literal["scored", "sql_error", "timeout", "too_large", "forbidden", "gold_error", "missing"]

_Stage: TypeAlias = Literal["nothing", "parses", "compiles", "runs", "right_width", "right_result"]

_Error: TypeAlias = Literal[
    "syntax",
    "no_such_table",
    "no_such_column",
    "ambiguous_column",
    "no_such_function",
    "other",
    "forbidden",
    "too_large",
    "schema",
]

class _Table(TypedDict):
    name: str
    columns: list[tuple[str, str, int]]
    """Name, type as declared, and position in the primary key from 1, or 0."""
    foreign_keys: list[tuple[list[str], str, list[str]]]
    """Columns, the table that they refer to, and the columns there, or none for its primary key."""
    values: list[list[int | float | str | bytes]]
    """Example values of each column, if asked for."""
    definition: NotRequired[str]
    """The statement that defines a virtual table; other tables have none."""

class QsqlError(Exception):
    """Something that stops a run: a missing database, a file that cannot be read, a wrong setting.

    The message says what and where; its last line is a hint at what to do. What a *prediction* does wrong is no error
    but the state of its verdict.
    """

@final
class Verdict:
    """What came of one prediction. Immutable, and equal to another where all of its properties are."""

    @property
    def execution(self) -> bool | None:
        """Whether it means the same as its gold on every database of the suite.

        None if that cannot be told or was not asked for.
        """
    @property
    def state(self) -> _State:
        """How the execution went; anything but "scored" and "gold_error" makes `execution` False."""
    @property
    def stage(self) -> _Stage | None:
        """How far it came on the first database that rejects it; each stage includes those before it.

        - "nothing": SQLite's grammar rejects it, or its size, or it wants more than to read.
        - "parses": it is a query, with names or calls that have no meaning there.
        - "compiles": it has a meaning, and fails when it runs.
        - "runs": it runs to its end, or until it is clear that it is wrong; see `run_to_end` of `Scorer`.
        - "right_width": its result has as many columns as that of the gold.
        - "right_result": no database rejects it.

        None where `execution` is.
        """
    @property
    def databases(self) -> int:
        """How many databases the suite has."""
    @property
    def failed_on(self) -> str | None:
        """File name of the first database that rejects the prediction, or on which the gold fails."""
    @property
    def detail(self) -> str | None:
        """What happened there, for people to read."""
    @property
    def capped(self) -> bool:
        """Whether values were plugged in, and not every way to do it was tried."""
    @property
    def exact(self) -> bool | None:
        """Whether it is an exact match of its gold; None if that cannot be told or was not asked for."""
    @property
    def canonical_exact(self) -> bool | None:
        """Whether the canonical forms of prediction and gold match, so that a dialect does not count.

        None where `exact` is.
        """
    @property
    def hardness(self) -> _Hardness | None:
        """Difficulty of the gold; None if Spider's grammar rejects it."""
    @property
    def partial(self) -> dict[str, list[int]] | None:
        """The ten partial scores, along with `exact`.

        Component -> [accuracy, recall, F1, total of the gold, total of the prediction], the first three 0 or 1.
        """
    @property
    def rejected(self) -> str | None:
        """Why Spider's grammar rejects the prediction, which makes `exact` False."""
    @property
    def gold_rejected(self) -> str | None:
        """Why Spider's grammar rejects the gold, which makes `exact` None."""
    def to_dict(self) -> dict[str, Any]:
        """Give all of its properties as plain values, by name, in the order of a line of `verdicts.jsonl`."""
    def __reduce__(self) -> tuple[Callable[[bytes], Verdict], tuple[bytes]]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Denotation:
    """What came of one query on one database. Immutable, and equal to another where all of its properties are."""

    @property
    def state(self) -> Literal["ran", "sql_error", "timeout", "too_large", "forbidden", "database_error"]:
        """Whether it ran to its end, or why not."""
    @property
    def columns(self) -> int | None:
        """How many columns the result has; None if there is no result."""
    @property
    def rows(self) -> int | None:
        """How many rows the result has; None if there is no result."""
    @property
    def digest(self) -> bytes | None:
        """48 bytes that are equal where two results have the same rows, in any order; None if there is no result."""
    @property
    def detail(self) -> str | None:
        """What happened if there is no result, for people to read."""
    def __reduce__(self) -> tuple[Callable[[bytes], Denotation], tuple[bytes]]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Check:
    """Whether a query compiles against a schema, and what is wrong if not.

    Immutable, and equal to another where all of its properties are.
    """

    @property
    def error(self) -> _Error | None:
        """The kind of mistake: None if it compiles, "schema" if the schema itself does not."""
    @property
    def name(self) -> str | None:
        """The name that does not exist or is ambiguous, as the query writes it."""
    @property
    def detail(self) -> str | None:
        """What SQLite says; None without an error."""
    def __reduce__(self) -> tuple[Callable[[bytes], Check], tuple[bytes]]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Scorer:
    """Scores batches of predictions on a folder of databases, on several threads.

    Threads and open databases are kept between calls, so make one scorer and use it for everything. It may be shared by
    threads, survives a fork, and can be pickled: the copy has the same settings and opens its own databases. From
    asyncio, use `score_async`.

    Args:
        database_dir: Holds `<db_id>/<db_id>.sqlite` and any variants of it beside that file; all of them are the suite.
        tables: Spider's `tables.json`, for the foreign keys of exact match; without it they are those that the
            databases declare.
        keep_distinct: Keep DISTINCT, which the official protocol removes from gold and prediction.
        plug_value: Try predictions with the values of their golds too, for models that predict none.
        credit_empty: Count a prediction right that returns nothing where its gold returns nothing on any database, as
            the official protocol does. Turn it off for rewards: else the empty result is the one that is easy to guess.
        variants: Judge on the whole suite; else on `<db_id>/<db_id>.sqlite` alone.
        run_to_end: Run predictions to their end even where they are known to be wrong before, so that `stage` tells
            whether they have one. None becomes right or wrong by it, but one that never ends becomes "timeout".
        threads: How many; by default as many as the machine has cores.
        timeout: Seconds for one query on one database.
        max_steps: SQLite instructions for one query on one database; unlike time, the same on every machine.
        max_memory: Bytes of memory for one query on one database.
        cache_dir: Folder that keeps the results of golds, as hashes, so that a later process need not run them again on
            the same content of a database. By default nothing is kept. Verdicts are the same with and without.

    Raises:
        QsqlError: If the folder does not exist or a setting makes no sense.

    Example:
        >>> scorer = qsql.Scorer("database", "tables.json")
        >>> golds = ["SELECT count(*) FROM species"] * 3
        >>> predictions = ["SELECT count(species_id) FROM species", "SELECT count(*) FROM speces", None]
        >>> [verdict.state for verdict in scorer.score(golds, predictions, ["seed_bank"] * 3)]
        ['scored', 'sql_error', 'missing']
        >>> scorer.execution(golds, predictions, ["seed_bank"] * 3)
        array([ True, False, False])
    """

    def __new__(
        cls,
        database_dir: str | PathLike[str],
        tables: str | PathLike[str] | None = None,
        *,
        keep_distinct: bool = False,
        plug_value: bool = False,
        credit_empty: bool = True,
        variants: bool = True,
        run_to_end: bool = False,
        threads: int | None = None,
        timeout: float = 30.0,
        max_steps: int = 1_000_000_000,
        max_memory: int = 134_217_728,
        cache_dir: str | PathLike[str] | None = None,
    ) -> Scorer: ...
    def __getnewargs_ex__(self) -> tuple[tuple[PathLike[str], PathLike[str] | None], dict[str, Any]]: ...
    @property
    def threads(self) -> int:
        """How many threads score."""
    @property
    def executions(self) -> int:
        """How many statements the finished calls have executed."""
    @property
    def cache_problem(self) -> str | None:
        """Why results of golds could not be kept in `cache_dir`; None if they could, or nobody asked for it."""
    def databases(self, db_id: str) -> list[PathLike[str]]:
        """The files of the suite of a database, its main file first.

        Raises:
            QsqlError: If there is no such database.
        """
    def database_problem(self, db_id: str) -> str | None:
        """Tell why a database or its suite cannot be read, with a hint in the last line; None if it can.

        Raises:
            QsqlError: If that is no database name.
        """
    def schema_problem(self, db_id: str) -> str | None:
        """Tell why exact match has no schema of a database to compare by; None if it has.

        Raises:
            QsqlError: If the database cannot be read.
        """
    def left_out(self, db_id: str) -> list[tuple[PathLike[str], str]]:
        """Files beside a database that are none of its variants, though they may look like it, each with the reason.

        Hidden files and what systems and editors leave in folders, and `.sqlite` files that are no databases.

        Raises:
            QsqlError: If there is no such database.
        """
    def score(
        self,
        golds: Sequence[str],
        predictions: Sequence[str | None],
        db_ids: Sequence[str],
        etype: _Etype = "all",
        *,
        progress: Callable[[int, int], object] | None = None,
        settled: Callable[[list[tuple[int, Verdict]]], object] | None = None,
    ) -> list[Verdict]:
        """Judge predictions by exact match and test-suite execution accuracy, as the official Spider tool defines them.

        Args:
            golds: The queries that are right.
            predictions: One for each gold; None where the model gave none.
            db_ids: The database of each gold.
            etype: What to judge by: "exec", "match" or both.
            progress: Called about ten times a second with how many pairs of prediction and database are settled, and of
                how many.
            settled: Called about twice a second, in calls that take longer than that, with the positions and verdicts
                of items of which all is known, each once; the rest is in what is returned. Also when the call is
                interrupted, so that what was done until then is not lost.

        Returns:
            One verdict for each gold, in the same order. Where a database cannot be read, its items are "gold_error".

        Raises:
            QsqlError: If something is no database name, or the three lists differ in length.
            KeyboardInterrupt: Soon after Ctrl-C.
        """
    def denotations(
        self,
        queries: Sequence[str],
        db_ids: Sequence[str],
        *,
        progress: Callable[[int, int], object] | None = None,
    ) -> list[Denotation]:
        """Run each query on the main file of its database, as it is written; nothing is compared.

        Args:
            queries: The queries.
            db_ids: The database of each.
            progress: Called as by `score`, with queries.

        Returns:
            One denotation for each query, in the same order; "database_error" where a database cannot be read.

        Raises:
            QsqlError: If something is no database name, or the lists differ in length.
            KeyboardInterrupt: Soon after Ctrl-C.
        """
    def execution(
        self, golds: Sequence[str], predictions: Sequence[str | None], db_ids: Sequence[str]
    ) -> NDArray[np.bool_]:
        """Judge predictions like `score`, for callers that only want to know which are right.

        Returns:
            Array of shape (len(golds),).

        Raises:
            QsqlError: As `score` does, and if a gold fails or a database cannot be read, since its items are neither
                right nor wrong.
            KeyboardInterrupt: Soon after Ctrl-C.
        """

@final
class Schema:
    """Tables, columns and foreign keys of a database. Immutable, and equal to another that has the same.

    Args:
        tables: Names of the columns of each table.
        foreign_keys: Pairs of columns, each written "table.column".

    Raises:
        QsqlError: If a foreign key names no column.
    """

    def __new__(cls, tables: dict[str, list[str]], foreign_keys: Sequence[tuple[str, str]] = ...) -> Schema: ...
    @staticmethod
    def read(
        database: str | PathLike[str], tables: str | PathLike[str] | None = None, db_id: str | None = None
    ) -> Schema:
        """Read the schema of a `.sqlite` file.

        Args:
            database: The file.
            tables: Spider's `tables.json`, for foreign keys; without it they are those that the database declares.
            db_id: Name of the database in there, by default that of the file.

        Raises:
            QsqlError: If a file cannot be read, or the database is not listed.
        """
    def __reduce__(self) -> tuple[Callable[[bytes], Schema], tuple[bytes]]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ExactMatch:
    """How a prediction compares with its gold by Spider's exact match.

    Definition: `eval_exact_match` and `eval_partial_match` of taoyds/test-suite-sql-eval. Immutable, and equal to
    another where all of its properties are.
    """

    @property
    def exact(self) -> bool:
        """Whether it matches."""
    @property
    def partial(self) -> dict[str, list[int]]:
        """Component -> [accuracy, recall, F1, total of the gold, total of the prediction]."""
    @property
    def rejected(self) -> str | None:
        """Why Spider's grammar rejects the prediction, which is then compared as an empty query."""
    @property
    def position(self) -> int | None:
        """Index of the character at which it is rejected; None if it is not, or at its end."""
    @property
    def hardness(self) -> _Hardness:
        """Difficulty of the gold."""
    def __reduce__(self) -> tuple[Callable[[bytes], ExactMatch], tuple[bytes]]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def canonicalize(sql: str, schema: Schema | dict[str, list[str]] | None = None) -> str:
    """Return the canonical form of a query: one text for the many that mean the same.

    It is in the dialect of Spider's grammar where that can say it, and returns what the query returns.

    Args:
        sql: One SELECT statement in SQLite's dialect.
        schema: With one, names get the meaning that they have on its database.

    Returns:
        One line of SQL.

    Raises:
        QsqlError: If the text is no query, or holds something that has no canonical form.

    Example:
        >>> qsql.canonicalize("select s.Name n from singer s where s.Age<>20", {"singer": ["id", "name", "age"]})
        'SELECT name FROM singer WHERE age != 20'
    """

def check(
    schemas: Sequence[str], queries: Sequence[str], *, progress: Callable[[int, int], object] | None = None
) -> list[Check]:
    """Compile each query against the schema beside it, without running anything, on all cores.

    Args:
        schemas: Texts of CREATE TABLE statements, one for each query. Those with the same text are defined once.
        queries: The queries.
        progress: Called about ten times a second with how many queries are checked, and of how many.

    Returns:
        One check for each query, in the same order.

    Raises:
        QsqlError: If the lists differ in length.
        KeyboardInterrupt: Soon after Ctrl-C.

    Example:
        >>> qsql.check(["CREATE TABLE singer (name TEXT)"] * 2, ["SELECT name FROM singer", "SELECT nam FROM singer"])
        [Check(error=None), Check(error='no_such_column', detail="no such column: nam")]
    """

def database_file(database_dir: str | PathLike[str], db_id: str) -> PathLike[str]:
    """Path of the main file of a database, `<db_id>/<db_id>.sqlite`; it need not be there.

    The only way from a `db_id` to a file, so that none leads out of the folder.

    Raises:
        QsqlError: If `db_id` is not the name of one folder.
    """

def describe(database: str | PathLike[str], *, values: int = 0) -> list[_Table]:
    """Describe the tables of a `.sqlite` file in the order of their definition.

    Args:
        database: The file.
        values: How many example values to give for each column: the first distinct ones that are not NULL.

    Raises:
        QsqlError: If the file cannot be read.
    """

def describe_definitions(definitions: str) -> list[_Table]:
    """Describe the tables that a text of CREATE TABLE statements defines, as `describe` does.

    Raises:
        QsqlError: If it does not compile, or does more than to define tables.
    """

def exact_match(gold: str, prediction: str, schema: Schema | dict[str, list[str]]) -> ExactMatch:
    """Compare a prediction with its gold by Spider's official exact match, values aside.

    Definition: taoyds/test-suite-sql-eval, `evaluation.py`. Nothing is replaced in the prediction beforehand.

    Args:
        gold: The query that is right.
        prediction: The query to compare.
        schema: The schema of their database, or the names of the columns of each table.

    Raises:
        QsqlError: If Spider's grammar rejects the gold.

    Example:
        >>> schema = {"singer": ["id", "name", "age"]}
        >>> found = qsql.exact_match("SELECT name FROM singer", "select name as n from singer", schema)
        >>> found.exact, found.rejected, found.position
        (False, 'column alias is not in the grammar', 12)
    """

def executed_text(sql: str, *, is_prediction: bool = False, keep_distinct: bool = False) -> str:
    """Return the text that scoring executes for a query.

    Definition: `postprocess`, `replace_cur_year` and `remove_distinct` of taoyds/test-suite-sql-eval. Values are not
    plugged in.

    Args:
        sql: A gold or a prediction.
        is_prediction: Whether each placeholder `value` becomes 1, as officially in predictions.
        keep_distinct: Keep DISTINCT and further statements.
    """

def hardness(sql: str, schema: Schema | dict[str, list[str]]) -> _Hardness:
    """Grade a query by Spider's official difficulty.

    Definition: `eval_hardness` of taoyds/test-suite-sql-eval, by the number of clauses, aggregates and nested queries.

    Args:
        sql: The query, as a rule a gold.
        schema: The schema of its database, or the names of the columns of each table.

    Returns:
        "easy", "medium", "hard" or "extra".

    Raises:
        QsqlError: If Spider's grammar rejects the query.

    Example:
        >>> qsql.hardness("SELECT name FROM singer", {"singer": ["id", "name", "age"]})
        'easy'
    """

@final
class QueryResult:
    """What one query returned on one database.

    Immutable, and equal to another where all of its properties are, integers and floats told apart.
    """

    @property
    def state(self) -> Literal["ran", "sql_error", "timeout", "too_large", "forbidden", "database_error"]:
        """How it went; anything but "ran" leaves no rows."""
    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
    @property
    def rows(self) -> list[tuple[int | float | str | bytes | None, ...]]:
        """The first rows, in the order in which SQLite returns them."""
    @property
    def truncated(self) -> bool:
        """Whether there are more rows."""
    @property
    def detail(self) -> str | None:
        """What happened where there is no result."""
    def __reduce__(self) -> tuple[Callable[[bytes], QueryResult], tuple[bytes]]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def query(
    database: str | PathLike[str],
    sql: str,
    *,
    max_rows: int = 1000,
    timeout: float = 30.0,
    max_steps: int = 1_000_000_000,
    max_memory: int = 134_217_728,
) -> QueryResult:
    """Run one query on one `.sqlite` file, in the sandbox, and return its first rows.

    Nothing is written, whatever the query says. What it does wrong is the state of the result.

    Args:
        database: The file.
        sql: One statement that reads.
        max_rows: Rows to return; no more are computed.
        timeout: Seconds.
        max_steps: SQLite instructions.
        max_memory: Bytes of memory; what the rows take is limited to 64 MiB besides.

    Raises:
        QsqlError: If there is no database, or a limit makes no sense.
        KeyboardInterrupt: Soon after Ctrl-C.

    Example:
        >>> database = "database/seed_bank/seed_bank.sqlite"
        >>> found = qsql.query(database, "SELECT species_id FROM species ORDER BY 1", max_rows=2)
        >>> found.columns, found.rows, found.truncated
        (['species_id'], [(1,), (2,)], True)
    """

def score(
    gold: str,
    prediction: str | None,
    database: str | PathLike[str],
    *,
    keep_distinct: bool = False,
    timeout: float = 30.0,
) -> Verdict:
    """Judge one prediction on one `.sqlite` file, or on all those of a folder.

    For many predictions, a `Scorer` is faster by far: it keeps databases open and uses all cores.

    Args:
        gold: The query that is right.
        prediction: The query to judge; None where the model gave none.
        database: A `.sqlite` file, or a folder of them.
        keep_distinct: Keep DISTINCT, which the official protocol removes from gold and prediction.
        timeout: Seconds for one query on one database.

    Returns:
        The verdict, by both metrics.

    Raises:
        QsqlError: If there is no database.
        KeyboardInterrupt: Soon after Ctrl-C.

    Example:
        >>> qsql.score("SELECT count(*) FROM species", "SELECT 0", "database/seed_bank/seed_bank.sqlite")
        Verdict(execution=False, exact=False, state='scored', ...)
    """

def sqlite_version() -> str:
    """Version of the SQLite inside."""

def sqlite_compile_options() -> list[str]:
    """The options that the SQLite inside was compiled with."""

def suite_files(database: str | PathLike[str]) -> list[PathLike[str]]:
    """The databases at a path: a `.sqlite` file itself, or those of a folder, without files that are none.

    Raises:
        QsqlError: If there is no database.
    """
