"""The prompt, and the way back from a completion to its query."""

from __future__ import annotations

import pytest

from qsql.prompt import build_prompt, extract_sql


def test_the_prompt_is_the_one_that_models_were_trained_with():
    assert build_prompt("CREATE TABLE twitter (TweetID INTEGER);", "How many tweets?") == (
        "Generate SQL from the given schema and question. Output SQL only.\n\n"
        "Schema:\nCREATE TABLE twitter (TweetID INTEGER);\n\nQuestion:\nHow many tweets?\n"
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM singer",
        "select a from t where b = 'x; y'",
        "SELECT a\nFROM t\n\nWHERE b = 1\n\nORDER BY c",
        "SELECT a FROM t WHERE b = 'one\n\nThis is text: not prose'",
        "WITH best AS (SELECT 1) SELECT * FROM best",
        "with recursive c(n) as (select 1 union all select n + 1 from c where n < 9) select n from c",
        "(SELECT a FROM t) UNION (SELECT b FROM u)",
        'SELECT `a;b`, [c;d], "e;f" FROM t -- why; not\nWHERE x = 1',
        "SELECT a FROM t WHERE b = 'it''s' /* a; b */ AND c = 2",
        "SELECT a FROM t WHERE b = 'café' AND c LIKE '%```%'",
        "DROP TABLE singer",
        "VALUES (1), (2)",
        "SELECT a\n  , b\n  , c\nFROM t",
        "SELECT CASE WHEN a > 1 THEN 'x'\n  ELSE 'y' END\nFROM t",
        "SELECT a FROM t WHERE b IN (\n\n  SELECT b FROM u\n\n)",
    ],
)
def test_plain_sql_comes_back_as_it_is(sql):
    assert extract_sql(sql) == sql
    assert extract_sql(f"\n {sql} ;\n") == sql


QUERY = "SELECT name FROM singer WHERE age > 20"


@pytest.mark.parametrize(
    "completion",
    [
        f"```sql\n{QUERY};\n```",
        f"```\n{QUERY}\n```",
        f"```SQLite\n{QUERY}",
        f"```sql {QUERY} ```",
        f"Here is the query:\n\n```sql\n{QUERY};\n```\n\nIt selects the names of all singers.",
        f"First look at the table:\n```python\nprint(1)\n```\nthen\n```sql\n{QUERY}\n```",
        f"SQL: {QUERY}",
        f"sql query: {QUERY};",
        f"**SQL:**\n{QUERY}",
        f"Answer:\n{QUERY}\n\nExplanation: it filters by age.",
        f"The SQL query is: `{QUERY}`",
        f"The final answer is: {QUERY}",
        f"To find them, run `{QUERY}` on the database.",
        f"Select the names of those who are over 20.\n\nSQL:\n{QUERY}".replace("Select the", "We select the"),
        f"With this schema we need the table of singers.\n{QUERY}",
        f"You can use the following statement: {QUERY}",
        f"{QUERY}; SELECT 1; DROP TABLE singer",
        f"{QUERY}\n\nThis query returns the names of all singers over 20.",
        f"{QUERY}\nThis query returns the names of all singers over 20.",
        f"{QUERY}\nExplanation: none.",
        f"{QUERY}\n\nQuestion:\nHow many singers are there?\nSELECT count(*) FROM singer",
        f"{QUERY}\n```\nThat is all.",
        f"<think>\nSELECT nonsense FROM nowhere;\n</think>\n\n{QUERY}",
        f"The table is singer.\n</think>\n{QUERY}",
        f"<|im_start|>assistant\n{QUERY}<|im_end|>\n<|im_start|>user\nSELECT 1",
        f"{QUERY}<|im_end|>\n",
        f"{QUERY}</s>",
        f"> SQL: {QUERY}",
        f"SQL: ```sql\n{QUERY}\n```",
        f"```sql\nSQL: {QUERY}\n```",
    ],
)
def test_the_query_is_found_in_what_surrounds_it(completion):
    assert extract_sql(completion) == QUERY


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "   \n",
        "I'm sorry, but I cannot help with that.",
        "The schema has no table of songs, so the question cannot be answered from it.",
        "You could select the names from a list, with the age of each.",
        "With pleasure! Which table do you mean?",
        "<think>\nSELECT 1",
        "```python\nprint('hello')\n```",
        "<|im_end|>",
        "\0\ufffd",
    ],
)
def test_there_is_no_query_where_there_is_none(completion):
    assert extract_sql(completion) == ""


@pytest.mark.parametrize(
    "unit", ["(", "`", "[", "'", "select /*", "select [", "select ', ", "with a(", "<think>", "a\n \n", "```sql\n"]
)
def test_text_made_to_be_slow_is_not(unit):
    # A search that takes time with the square of the length would take hours.
    text = "SELECT 1 " + unit * (1_000_000 // len(unit))
    assert extract_sql(text).startswith("SELECT 1")


@pytest.mark.parametrize("whitespace", ["\n", " ", "\t", " \n"])
@pytest.mark.parametrize("before", ["a", "answer:", "```sql\n"])
def test_a_million_blanks_take_no_longer_than_other_text(before, whitespace):
    # By the square of their number they would take hours.
    assert extract_sql(f"{before}{whitespace * 1_000_000}\nSELECT 1") == "SELECT 1"
