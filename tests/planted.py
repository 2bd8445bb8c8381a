"""Training rows with one known fault each, and clean ones, over the demo databases.

Questions and queries are made from names and values of the databases, so that every row is of its own. A faulty row is
a clean one that no other row is made from, with one thing changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from qsql._core import describe
from qsql.schema_text import schema_text, tables_of_database

CLEAN = 200
EVALUATION_DATABASE = "night_log"
"""The database that stands for an evaluation set; none of its rows is clean."""


@dataclass(frozen=True)
class Planted:
    """A row as a source has it, the stage that must drop it (None for a clean one), and why."""

    record: dict
    stage: str | None
    reason: str | None


def questions(databases):
    """Yield records whose queries run and return something, on all databases but that of the evaluation set."""
    for path in sorted(databases.glob("*/*.sqlite")):
        if path.stem != path.parent.name:
            continue
        schema = schema_text(tables_of_database(path))
        for table in describe(path, values=4):
            name = table["name"]
            kind = name.replace("_", " ")
            for (column, _, _), values in zip(table["columns"], table["values"], strict=True):
                words = column.replace("_", " ")
                made = [
                    (
                        f"How many different values of {words} do the {kind} have?",
                        f"SELECT count(DISTINCT {column}) FROM {name}",
                    ),
                    (
                        f"List {words} for all {kind}, sorted backwards.",
                        f"SELECT {column} FROM {name} ORDER BY {column} DESC",
                    ),
                ]
                for value in values:
                    shown = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else value
                    where = f"{column} = {shown}"
                    made.append(
                        (f"Count {kind} where {words} equals {value}.", f"SELECT count(*) FROM {name} WHERE {where}")
                    )
                    made.append(
                        (
                            f"Everything about {kind} with {value} as {words}, please.",
                            f"SELECT * FROM {name} WHERE {where}",
                        )
                    )
                for question, query in made:
                    yield {"question": question, "query": query, "schema": schema, "db_id": path.stem, "table": name}


def evaluation_set(databases):
    """Examples of the database that training data must not have, without their schema."""
    found = [record for record in questions(databases) if record["db_id"] == EVALUATION_DATABASE]
    return [{name: record[name] for name in ("question", "query", "db_id")} for record in found]


def plant(databases):
    """Make the clean rows and the faulty ones."""
    records = list(questions(databases))
    usable = [record for record in records if record["db_id"] != EVALUATION_DATABASE]
    # Questions that are alike stand side by side; spread, those of a kind are of different tables and columns.
    usable = [record for start in range(7) for record in usable[start::7]]
    planted = [Planted(record, None, None) for record in usable[:CLEAN]]
    rest = iter(usable[CLEAN:])
    for stage, reason, change in faults():
        planted += [Planted(change(dict(next(rest))), stage, reason) for _ in range(4)]
    for number, (reason, change) in enumerate(
        leaks(databases, [r for r in records if r["db_id"] == EVALUATION_DATABASE])
    ):
        planted.append(Planted(change(dict(next(rest)), number), "leakage", reason))
    originals = [item.record for item in planted[:CLEAN]]
    for number, change in enumerate([*repeats()] * 4):
        planted.append(Planted(change(dict(originals[3 * number])), "duplicate", "same"))
    long = [record for record in originals if len(record["question"]) > 45]
    for number, change in enumerate([*near_repeats()] * 8):
        planted.append(Planted(change(dict(long[2 * number + 1])), "near_duplicate", "question"))
    for _ in range(8):
        record = next(rest)
        planted.append(
            Planted(
                record | {"question": record["question"] + " Mind this:" + " again and again" * 300},
                "length",
                "too_long",
            )
        )
    return planted


def faults():
    """Stage, reason and change of every fault that a row has by itself."""

    def put(name, text):
        return lambda record: record | {name: text(record[name]) if callable(text) else text}

    def on_its_table(template):
        return lambda record: record | {"query": template.format(table=record["table"])}

    yield "encoding", "undecodable", put("question", lambda text: text + " \ufffd")
    yield "encoding", "undecodable", put("query", lambda text: text + " -- \ufffd\ufffd")
    yield "encoding", "undecodable", put("schema", lambda text: text.replace(";", "\ufffd;", 1))
    yield "encoding", "control_character", put("question", lambda text: text.replace(" ", "\x00", 1))
    yield "encoding", "control_character", put("query", lambda text: text + "\x1b[0m")
    yield "encoding", "control_character", put("schema", lambda text: text + "\x08")
    yield "encoding", "mis-decoded", put("question", lambda text: text + " In the cafÃ© donâ€™t.")
    yield "encoding", "mis-decoded", put("query", lambda text: text + " -- MÃ¼nchen, SÃ£o Paulo")
    yield "empty", "no_question", put("question", "")
    yield "empty", "no_question", put("question", " \n\t ")
    yield "empty", "no_query", put("query", "")
    yield "empty", "no_query", put("query", " ; ")
    yield "empty", "no_schema", lambda record: record | {"schema": "   ", "db_id": None}
    yield "syntax", "syntax", put("query", lambda text: text.replace("SELECT", "SELCT", 1))
    yield "syntax", "syntax", put("query", lambda text: text + " WHERE AND")
    yield "syntax", "syntax", put("query", lambda text: text.replace("FROM", ", FROM", 1))
    yield "syntax", "syntax", put("query", lambda text: text + " LIMIT")
    yield "syntax", "syntax", put("query", lambda text: f"({text}")
    yield "syntax", "syntax", put("query", lambda text: text + "; SELECT 1")
    yield "syntax", "syntax", put("query", "I do not know.")
    yield "syntax", "syntax", put("query", "-- nothing")
    yield "compile", "no_such_table", put("query", lambda text: text.replace(" FROM ", " FROM missing_", 1))
    yield "compile", "no_such_column", on_its_table("SELECT no_such_column FROM {table}")
    yield "compile", "no_such_column", on_its_table("SELECT a.missing FROM {table} AS a")
    yield "compile", "ambiguous_column", on_its_table("SELECT rowid FROM {table} AS a JOIN {table} AS b")
    yield "compile", "no_such_function", on_its_table("SELECT year(rowid) FROM {table}")
    yield "compile", "other", on_its_table("SELECT 1 FROM {table} WHERE count(*) > 1")
    yield "compile", "other", on_its_table("SELECT 1 FROM {table} UNION SELECT 1, 2")
    yield "compile", "forbidden", on_its_table("DELETE FROM {table}")
    yield "compile", "schema", put("schema", lambda text: text.replace("CREATE TABLE", "CREATE TABEL", 1))
    yield "compile", "schema", put("schema", lambda text: text + " DROP TABLE x;")
    # The schema names a column that the database itself does not have.
    yield (
        "execution",
        "sql_error",
        lambda record: (
            record
            | {
                "schema": record["schema"].replace(
                    f"CREATE TABLE {record['table']} (", f"CREATE TABLE {record['table']} (gone TEXT, "
                ),
                "query": f"SELECT gone FROM {record['table']}",
            }
        ),
    )
    yield "execution", "empty_result", on_its_table("SELECT 1 FROM {table} WHERE 1 = 0")
    yield (
        "execution",
        "timeout",
        on_its_table(
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT 1 FROM c, {table} WHERE n < 0"
        ),
    )


def leaks(databases, held):  # noqa: C901 - a list
    """Reason and change of every way in which a row is known from the evaluation set, whose records are `held`."""
    schema = schema_text(tables_of_database(databases / EVALUATION_DATABASE / f"{EVALUATION_DATABASE}.sqlite"))

    def from_set(**changes):
        return lambda _, number: held[number] | changes

    def asks(change):
        """A question of the evaluation set over the row's own schema and query."""
        return lambda record, number: record | {"question": change(held[5 * number]["question"])}

    def recase(text):
        return text.swapcase()

    def repunctuate(text):
        return " " + text.replace(" ", "  ").replace(".", " !!").replace("?", "").replace(",", " --") + " ..."

    def rephrase(text):
        changed = text.replace("How many different values of", "Tell me the number of different values of")
        changed = (
            changed.replace("List ", "Show me ")
            .replace("Count ", "Please count the ")
            .replace("Everything", "Find all")
        )
        return "Please: " + changed

    # Other names for the database, its tables and the spelling of columns do not make another schema of it.
    renamed = schema.replace("CREATE TABLE ", "CREATE TABLE my_")
    respelled = "\n".join(line.replace("_", "").upper() for line in schema.splitlines())
    reordered = "\n".join(reversed(schema.splitlines()))
    added = schema + "\nCREATE TABLE notes (note_id INTEGER, remark TEXT);"
    without = "\n".join(schema.splitlines()[:-1])
    plain = "SELECT 'nothing of it'"
    for _ in range(4):
        yield "database", from_set()
        yield "database", lambda record, number: record | {"db_id": EVALUATION_DATABASE.upper(), "number": number}
    for text in (renamed, respelled, reordered, added, without):
        for number in range(3):
            question = f"What does text number {number} of {len(text)} letters say?"
            yield "schema", from_set(db_id=None, schema=text, question=question, query=plain)
    for change in (str, recase, repunctuate, rephrase):
        for _ in range(5):
            yield "question", asks(change)


def repeats():
    """Changes that leave an example what it was."""
    yield lambda record: record
    yield lambda record: record | {"question": record["question"].upper().replace("?", "").replace(".", " !")}
    yield (
        lambda record: (
            record
            | {
                "query": record["query"].lower().replace(" ", "  ")
                if "'" not in record["query"]
                else record["query"] + ";"
            }
        )
    )
    yield (
        lambda record: (
            record | {"schema": record["schema"].replace("CREATE TABLE", "create table").replace(", ", " , ")}
        )
    )


def near_repeats():
    """Changes that leave nearly every letter of a question where it was."""
    yield lambda record: record | {"question": record["question"].rstrip(".?") + "s"}
    yield lambda record: record | {"question": record["question"] + " OK"}
