"""Reading golds and predictions: formats, pairing, and what is said about bad files."""

from __future__ import annotations

import json

import pytest

from qsql import QsqlError
from qsql.data import read_examples, read_predictions


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def pair(write, gold, predictions, suffix="sql"):
    examples = read_examples(write("gold.sql", gold))
    return read_predictions(write(f"pred.{suffix}", predictions), examples)


GOLD = "SELECT 1\ta\nSELECT 2\tb\nSELECT 3\ta\n"
INTERACTIONS = "SELECT 1\ta\nSELECT 2\ta\n\nSELECT 3\tb\n"


def test_gold_lines_are_examples(write):
    examples = read_examples(write("gold.sql", "\ufeff" + GOLD.replace("\n", "\r\n")))
    assert [(example.id, example.query, example.db_id, example.place) for example in examples] == [
        ("0", "SELECT 1", "a", "line 1"),
        ("1", "SELECT 2", "b", "line 2"),
        ("2", "SELECT 3", "a", "line 3"),
    ]
    assert {(example.interaction, example.turn) for example in examples} == {(0, 1)}


def test_blank_gold_lines_separate_interactions(write):
    examples = read_examples(write("gold.txt", INTERACTIONS))
    assert [(example.interaction, example.turn) for example in examples] == [(0, 1), (0, 2), (1, 1)]


def test_spider_json_is_read(write):
    items = [{"db_id": "a", "question": "Why?", "query": "SELECT 1", "query_toks": []}]
    (example,) = read_examples(write("dev.json", json.dumps(items)))
    assert (example.id, example.db_id, example.question, example.query) == ("0", "a", "Why?", "SELECT 1")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gold.sql", "SELECT 1\ta\nSELECT 2\n", "line 2 has no tab"),
        ("gold.sql", "SELECT 1\ta\tb\n", "line 1 has 2 tabs"),
        ("gold.sql", b"SELECT 1\ta\nSELECT '\xff'\ta\n", "line 2 is not valid UTF-8"),
        ("gold.sql", "\n\n", "no golds"),
        ("gold.json", "[", "is not JSON"),
        ("gold.json", "{}", "is not a list"),
        ("gold.json", "[1]", "entry 1: it is the number 1, not an object"),
        ("gold.json", '[{"db_id": "a"}]', "entry 1: `query` is missing"),
        ("gold.json", '[{"query": "a", "db_id": 3}]', "entry 1: `db_id` is the number 3, not a text"),
        ("gold.jsonl", '{"query": "a", "db_id": "a"}\n{', "line 2 is not JSON"),
        ("gold.json", '[{"id": 7, "query": "a", "db_id": "a"}, {"id": 7, "query": "b", "db_id": "a"}]', "id `7`"),
    ],
)
def test_bad_golds_are_named_by_file_and_line(write, name, content, message):
    path = write(name, content)
    with pytest.raises(QsqlError) as caught:
        read_examples(path)
    text = str(caught.value)
    assert message in text
    assert str(path) in text
    assert "\nhint: " in text


@pytest.mark.parametrize("reader", [read_examples, lambda path: read_predictions(path, [])])
def test_unreadable_files_are_named(tmp_path, reader):
    with pytest.raises(QsqlError, match=r"absent\.sql`: No such file"):
        reader(tmp_path / "absent.sql")
    with pytest.raises(QsqlError, match="it is a directory, not a file\nhint: give a file"):
        reader(tmp_path)


def test_prediction_lines_pair_by_position(write):
    pairing = pair(write, GOLD, "SELECT 1\tcomment\n  SELECT 2 \nSELECT 3")
    assert pairing.predictions == ["SELECT 1", "SELECT 2", "SELECT 3"]
    assert (pairing.missing, pairing.surplus) == ([], 0)


def test_blank_and_absent_predictions_are_missing(write):
    pairing = pair(write, GOLD, "SELECT 1\n\n")
    assert pairing.predictions == ["SELECT 1", None, None]
    assert pairing.missing == ["1", "2"]


def test_an_empty_prediction_file_is_all_missing(write):
    assert pair(write, GOLD, "").missing == ["0", "1", "2"]


def test_surplus_predictions_are_counted_and_trailing_blank_lines_are_not(write):
    assert pair(write, GOLD, "a\nb\nc\n\n\n").surplus == 0
    assert pair(write, GOLD, "a\nb\nc\nd\n").surplus == 1


def test_interactions_pair_turn_by_turn(write):
    pairing = pair(write, INTERACTIONS, "a\n\nc\nd\n")
    assert pairing.predictions == ["a", None, "c"]
    assert (pairing.missing, pairing.surplus) == (["1"], 1)


def test_blank_lines_at_the_end_are_no_interactions(write):
    examples = read_examples(write("g.txt", "A\td\n\nB\td\n\n\n"))
    assert [(example.interaction, example.turn) for example in examples] == [(0, 1), (1, 1)]
    for end in ("", "\n", "\n\n\n"):
        pairing = read_predictions(write("p.txt", f"a\n\nb\n{end}"), examples)
        assert (pairing.predictions, pairing.missing) == (["a", "b"], [])


def test_other_interactions_than_the_golds_are_an_error(write):
    with pytest.raises(QsqlError, match="has 1 interactions, the golds have 2"):
        pair(write, INTERACTIONS, "a\nb\nc\n")
    with pytest.raises(QsqlError, match="has 0 interactions, the golds have 2"):
        pair(write, INTERACTIONS, "\n\n")


def test_json_lines_pair_by_id(write):
    lines = [{"id": 2, "sql": "c"}, {"id": "0", "sql": "a\n"}, {"id": 9, "sql": "?"}]
    pairing = pair(write, GOLD, "\n".join(map(json.dumps, lines)), "jsonl")
    assert pairing.predictions == ["a", None, "c"]
    assert (pairing.missing, pairing.surplus) == (["1"], 1)


def test_json_lines_without_ids_pair_by_position(write):
    pairing = pair(write, GOLD, '{"sql": "a"}\n{"sql": null}\n{"sql": "c\\nd"}\n', "jsonl")
    assert pairing.predictions == ["a", None, "c\nd"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": 0}', "line 1: `sql` is missing"),
        ('{"sql": 3}', "line 1: `sql` is the number 3, not a text or null"),
        ('{"id": 0, "sql": "a"}\n{"id": 0, "sql": "b"}', "line 2 repeats the id `0`"),
        ('{"id": "x", "sql": "a"}', "no id of"),
    ],
)
def test_bad_json_lines_are_named(write, content, message):
    with pytest.raises(QsqlError, match=message):
        pair(write, GOLD, content, "jsonl")


def test_bytes_that_are_no_text_stay_with_their_prediction(write):
    pairing = pair(write, GOLD, b"SELECT 1\nSELECT '\xff'\nSELECT 3\n")
    assert pairing.predictions[1] == "SELECT '\udcff'"
