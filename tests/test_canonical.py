"""Canonical forms: what they are, that they return what their query returns, and what they change in exact match."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

import qsql
from qsql import QsqlError, Schema, Scorer
from qsql.data import read_examples, read_predictions

TABLES = {
    "singer": ["id", "name", "age"],
    "concert": ["id", "singer_id", "year"],
    "odd names": ["id", "two words", "group"],
}
# Each line is a form with its spellings, or two queries that have none in common.
LINES = (Path(__file__).parent / "golden" / "canonical.jsonl").read_text(encoding="utf-8").splitlines()
CASES = [json.loads(line) for line in LINES]
LLMS = ["dail_gpt4", "c3", "din_codex"]
SETS = [*LLMS, *(f"dev_{number}" for number in range(1, 12))]

# Predictions that the official grammar rejects and whose canonical form is an exact match, though they fail on some
# variant: in each, the official metric overlooks what is wrong in its own dialect too.
OVERLOOKED = {
    ("c3", 562): "another column in ON, which is never compared",
    ("c3", 945): "a condition in ON, where the gold has none",
    ("din_codex", 892): "another column in ON, which is never compared",
    ("dev_1", 503): "another value, and values are not compared",
}


@pytest.mark.parametrize("rule", sorted({case["rule"] for case in CASES} - {"apart"}))
def test_spellings_of_a_query_have_one_form(rule):
    for case in CASES:
        if case["rule"] == rule:
            forms = {sql: qsql.canonicalize(sql, TABLES) for sql in [case["canonical"], *case["spellings"]]}
            assert set(forms.values()) == {case["canonical"]}, case["why"]


def test_queries_that_differ_have_forms_that_differ():
    same = [
        case
        for case in CASES
        if case["rule"] == "apart" and len({qsql.canonicalize(sql, TABLES) for sql in case["apart"]}) == 1
    ]
    assert same == []


def test_there_are_cases_enough():
    assert sum(len(case.get("spellings", case.get("apart"))) for case in CASES) >= 150


@pytest.mark.parametrize(
    ("expression", "form"),
    [
        ("age&1|2", "(age & 1) | 2"),
        ("age&(1|2)", "age & (1 | 2)"),
        ("age+1&2", "age + 1 & 2"),
        ("-+~age", "- + ~ age"),
        ("CEIL(age) + FLOOR(age)", "ceil(age) + floor(age)"),
        ("NOT (age = 1 AND id < 2)", "NOT (age = 1 AND id < 2)"),
        ("name COLLATE NOCASE", "name COLLATE nocase"),
    ],
)
def test_operators_have_the_parentheses_that_they_need(demo_databases, expression, form):
    canonical = qsql.canonicalize(f"SELECT {expression} FROM singer", TABLES)
    assert canonical == f"SELECT {form} FROM singer"
    database = demo_databases / "seed_bank" / "seed_bank.sqlite"
    table = "(SELECT 5 AS age, 1 AS id, 'Ann' AS name)"
    rows = [qsql.query(database, f"SELECT {text} FROM {table}").rows for text in (expression, form)]
    assert rows[0] == rows[1]


def test_a_place_for_nulls_is_told_where_it_is_not_the_usual_one():
    def form(order):
        return qsql.canonicalize(f"SELECT name FROM singer ORDER BY {order}", TABLES).rpartition(" BY ")[2]

    assert [form("age NULLS FIRST"), form("age NULLS LAST")] == ["age", "age NULLS LAST"]
    assert [form("age DESC NULLS LAST"), form("age DESC NULLS FIRST")] == ["age DESC", "age DESC NULLS FIRST"]


@pytest.mark.parametrize(
    ("condition", "form"),
    [
        ("NOT (age = 1 AND id < 2)", "age != 1 OR id >= 2"),
        ("NOT (age = 1 OR id < 2)", "age != 1 AND id >= 2"),
        ("NOT NOT age = 1", "age = 1"),
    ],
)
def test_negations_move_inside(condition, form):
    assert qsql.canonicalize(f"SELECT name FROM singer WHERE {condition}", TABLES) == (
        f"SELECT name FROM singer WHERE {form}"
    )


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC name FROM singer", "line 1, column 1"),
        ("SELECT title FROM singer", "no such column: `title`"),
        ("SELECT name FROM nowhere", "no such table: `nowhere`"),
        ("SELECT id FROM singer JOIN concert", "ambiguous column: `id`"),
        ("SELECT 1; SELECT 2", ""),
        ("DROP TABLE singer", ""),
        ("SELECT name FROM singer NATURAL JOIN concert", "NATURAL JOIN has no canonical form"),
        ("WITH t AS (SELECT 1) SELECT * FROM t", "WITH has no canonical form"),
        ("SELECT age << 1 FROM singer", "ShiftLeft"),
        ("SELECT main.count(*) FROM singer", "a function name with dots has no canonical form"),
        ("SELECT name FROM (singer JOIN concert)", "a join in parentheses has no canonical form"),
        ("(SELECT name FROM singer) UNION SELECT name FROM singer", "a query in parentheses has no canonical form"),
        ("SELECT DISTINCT ON (name) name FROM singer", "DISTINCT ON"),
        ("SELECT name FROM singer GROUP BY ALL", "GROUP BY ALL"),
        ("SELECT CAST(age AS GEOMETRY) FROM singer", "such a type in CAST has no canonical form"),
        ("(" * 10_000, ""),
    ],
)
def test_what_has_no_canonical_form_is_an_error(sql, message):
    with pytest.raises(QsqlError) as caught:
        qsql.canonicalize(sql, TABLES)
    assert message in str(caught.value)
    assert "\nhint: " in str(caught.value)


def test_verdicts_tell_an_exact_match_of_canonical_forms(demo_databases):
    gold = "SELECT count(*) FROM collectors"
    tables = Schema.read(demo_databases / "seed_bank" / "seed_bank.sqlite")
    assert qsql.exact_match(gold, "select COUNT(1) as n from collectors", tables).exact is False
    (verdict,) = Scorer(demo_databases).score([gold], ["select COUNT(1) as n from collectors"], ["seed_bank"], "match")
    assert (verdict.exact, verdict.canonical_exact) == (False, True)


@pytest.fixture(scope="module")
def dev(spider):
    """Examples of Spider dev, and the schema of each database."""
    examples = read_examples(spider / "dev_gold.sql")
    schemas = {
        db_id: Schema.read(spider / "databases" / db_id / f"{db_id}.sqlite", spider / "tables.json")
        for db_id in {example.db_id for example in examples}
    }
    return examples, schemas


@pytest.fixture(scope="module", params=SETS)
def predictions(request, spider, dev):
    """The name of a set, and its predictions."""
    return request.param, predicted(spider, dev, request.param)


def predicted(spider, dev, name):
    """A set of predictions as the official driver edits them."""
    texts = read_predictions(spider / "predictions" / f"{name}.sql", dev[0]).predictions
    return [text.replace("value", "1") for text in texts]


def form_of(text, schema):
    try:
        return qsql.canonicalize(text, schema)
    except QsqlError:
        return None


def forms_of(dev, texts):
    return [form_of(text, dev[1][example.db_id]) for example, text in zip(dev[0], texts, strict=True)]


def test_canonical_forms_return_what_their_queries_return(spider, dev, predictions):
    _, texts = predictions
    pairs = [
        (text, form, example.db_id)
        for text, form, example in zip(texts, forms_of(dev, texts), dev[0], strict=True)
        if form is not None
    ]
    scorer = Scorer(spider / "databases", keep_distinct=True, max_steps=100_000_000)
    verdicts = scorer.score(*zip(*pairs, strict=True), "exec")
    different = [
        pair
        for pair, verdict in zip(pairs, verdicts, strict=True)
        if verdict.state != "gold_error" and not verdict.execution
    ]
    assert different == []
    again = [qsql.canonicalize(form, dev[1][db_id]) for _, form, db_id in pairs]
    assert again == [form for _, form, _ in pairs]


@pytest.fixture(scope="module")
def distinct_pairs(spider, dev):
    """Texts of all sets that have a canonical form, the forms, and their databases."""
    pairs = set()
    for name in SETS:
        texts = predicted(spider, dev, name)
        for text, form, example in zip(texts, forms_of(dev, texts), dev[0], strict=True):
            if form is not None:
                pairs.add((text, form, example.db_id))
    assert len(pairs) > 8000
    return tuple(zip(*sorted(pairs), strict=True))


@pytest.mark.parametrize("number", [0, 1, 2, 20, 40, 59])
def test_canonical_forms_return_what_their_queries_return_on_variants(spider, distinct_pairs, tmp_path, number):
    # Each variant as a database of its own: from the second of a suite on, the scorer relies on what is tested here.
    texts, forms, db_ids = distinct_pairs
    for db_id in set(db_ids):
        link = tmp_path / db_id / f"{db_id}.sqlite"
        link.parent.mkdir()
        link.symlink_to(spider / "suite" / db_id / f"{db_id}v{number}.sqlite")
    scorer = Scorer(tmp_path, keep_distinct=True, max_steps=1_000_000)
    verdicts = scorer.score(texts, forms, db_ids, "exec")
    written_otherwise = sum(text != form for text, form in zip(texts, forms, strict=True))
    assert scorer.executions > len(texts) * 0.95 + written_otherwise * 0.95
    assert sum(verdict.execution is True for verdict in verdicts) > 0.95 * len(texts)
    wrong = [(texts[index], verdict) for index, verdict in enumerate(verdicts) if verdict.execution is False]
    assert wrong == []


def test_canonical_forms_lose_no_match_and_gain_none_that_is_wrong(spider, dev, predictions):
    name, texts = predictions
    with gzip.open(spider / "verdicts" / f"{name}.json.gz") as file:
        expected = json.load(file)
    golds, db_ids = [example.query for example in dev[0]], [example.db_id for example in dev[0]]
    verdicts = Scorer(spider / "databases", spider / "tables.json").score(golds, texts, db_ids, "match")
    assert [index for index, verdict in enumerate(verdicts) if verdict.exact and not verdict.canonical_exact] == []
    wrong = [
        (name, index)
        for index, verdict in enumerate(verdicts)
        if verdict.canonical_exact and not verdict.exact and expected["execution_suite"][index] != 1
    ]
    assert wrong == [case for case in OVERLOOKED if case[0] == name]


def test_most_of_what_the_grammar_rejects_of_language_models_is_parsed(spider, dev):
    rejected = parsed = 0
    for name in LLMS:
        texts = predicted(spider, dev, name)
        for example, text, form in zip(dev[0], texts, forms_of(dev, texts), strict=True):
            schema = dev[1][example.db_id]
            if qsql.exact_match(example.query, text, schema).rejected:
                rejected += 1
                parsed += form is not None and qsql.exact_match(example.query, form, schema).rejected is None
    assert (rejected, parsed) == (319, 238)
