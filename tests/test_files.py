"""Reading text and JSON: what is refused, by all readers alike, and how it is said."""

from __future__ import annotations

import json

import pytest

from qsql import QsqlError, Scorer, demo, files
from qsql.config import load_config
from qsql.data import read_examples, read_predictions
from qsql.generate.questions import read_questions
from qsql.generate.settings import KEYS
from qsql.prepare.sources import read_records
from qsql.results import read_json
from qsql.schema_text import read_schemas
from qsql.shapes import FLAG, INTEGER, NUMBER, TEXT, FileName, Kind, ListOf, MapOf, Nullable, OneOf, Record

GOLDS = [{"id": 1, "db_id": "seed_bank", "question": "How many?", "query": "SELECT count(*) FROM species"}]
PREDICTIONS = [{"id": 1, "sql": "SELECT count(*) FROM species WHERE 1", "question": "How many?"}]
QUESTIONS = [{"id": 1, "question": "a?", "schema": "CREATE TABLE t (a)", "query": "SELECT a FROM t", "db_id": "d"}]

JSON_READERS = {
    "golds": read_examples,
    "predictions": lambda path: read_predictions(path, []),
    "questions": read_questions,
    "tables": read_schemas,
    "records": lambda path: list(read_records(path)),
    "a file of a run": read_json,
}
NO_JSON = {
    "nested lists": "[" * 100_000 + "]" * 100_000,
    "nested objects": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "nested within reach of the parser": "[" * 300 + "]" * 300,
    "a number of 5,000 digits": '[{"id": ' + "1" * 5000 + ', "query": "a", "db_id": "a"}]',
    "a negative number of 5,000 digits": '[{"id": -' + "1" * 5000 + "}]",
    "NaN": '[{"id": NaN}]',
    "Infinity": '[{"id": -Infinity}]',
    "a number that no float holds": '[{"id": 1e999}]',
    "a key twice": '[{"id": 1, "query": "a", "db_id": "b", "query": "c"}]',
    "a key twice further in": '[{"a": {"b": 1, "b": 2}}]',
    "cut off": '[{"id": 1, "que',
    "nothing": "",
    "two documents": "[] []",
    "a control character": '["a\nb"]',
}


@pytest.mark.parametrize("content", NO_JSON.values(), ids=NO_JSON)
@pytest.mark.parametrize("reader", JSON_READERS)
def test_what_is_no_json_is_refused_by_all_readers(tmp_path, reader, content):
    path = tmp_path / "file.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(QsqlError) as caught:
        JSON_READERS[reader](path)
    message, _, hint = str(caught.value).partition("\nhint: ")
    assert str(path) in message
    assert hint
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "content", [text for text in NO_JSON.values() if text], ids=[name for name in NO_JSON if name != "nothing"]
)
@pytest.mark.parametrize("reader", ["golds", "predictions", "questions", "records"])
def test_the_line_of_what_is_no_json_is_named(tmp_path, reader, content):
    path = tmp_path / "file.jsonl"
    good = json.dumps({"query": "a", "sql": "a", "db_id": "b", "question": "c", "schema": "CREATE TABLE t (a)"})
    path.write_text(f"{good}\n\n{content.replace(chr(10), ' ')}\n{good}\n", encoding="utf-8")
    if content == NO_JSON["a control character"]:
        path.write_text(f'{good}\n\n["a\tb"]\n', encoding="utf-8")
    with pytest.raises(QsqlError, match=r"file\.jsonl` line 3"):
        JSON_READERS[reader](path)


ENCODED = {
    "UTF-16": ("utf-16", r"is UTF-16, not UTF-8\nhint: .*iconv -f UTF-16"),
    "UTF-16LE": ("utf-16-le", "is UTF-16, not UTF-8"),
    "UTF-16BE": ("utf-16-be", "is UTF-16, not UTF-8"),
    "UTF-32": ("utf-32", "is UTF-32, not UTF-8"),
    "Latin-1": ("latin-1", r"line 2 is not valid UTF-8\nhint: .*iconv"),
}
TEXT_READERS = {
    **{name: read for name, read in JSON_READERS.items() if name != "records"},
    "gold lines": lambda path: read_examples(path.rename(path.with_suffix(".sql"))),
    "a configuration": lambda path: load_config(path, (), KEYS),
}


@pytest.mark.parametrize("encoding", ENCODED)
@pytest.mark.parametrize("reader", TEXT_READERS)
def test_other_encodings_are_named(tmp_path, reader, encoding):
    path = tmp_path / "file.json"
    codec, message = ENCODED[encoding]
    path.write_bytes('[\n"é", 1]\n'.encode(codec))
    with pytest.raises(QsqlError, match=message):
        TEXT_READERS[reader](path)


def test_a_mark_of_the_order_of_bytes_is_no_content(tmp_path, demo_databases):
    mark = b"\xef\xbb\xbf"
    text = tmp_path / "golds.sql"
    text.write_bytes(mark + b"SELECT 1\tseed_bank\r\nSELECT 2\tseed_bank\n")
    golds = read_examples(text)
    assert [gold.query for gold in golds] == ["SELECT 1", "SELECT 2"]
    lines = tmp_path / "pred.txt"
    lines.write_bytes(mark + b"SELECT 1\nSELECT 2\n")
    found = read_predictions(lines, golds)
    assert (found.predictions, found.undecodable) == (["SELECT 1", "SELECT 2"], [])
    for name, content, read in (
        ("golds.json", json.dumps(GOLDS), read_examples),
        ("golds.jsonl", json.dumps(GOLDS[0]), read_examples),
        (
            "pred.jsonl",
            json.dumps(PREDICTIONS[0]),
            lambda path: read_predictions(path, read_examples(tmp_path / "golds.json")),
        ),
        ("questions.json", json.dumps(QUESTIONS), read_questions),
        ("rows.json", json.dumps(QUESTIONS), lambda path: list(read_records(path))),
        (
            "rows.csv",
            "question,query,db_id\r\na,b,c\r\n",
            lambda path: [dict(record) for _, record in read_records(path)],
        ),
        ("config.yaml", "seed: 3\n", lambda path: load_config(path, (), KEYS)),
        ("tables.json", demo.TABLES.read_text(encoding="utf-8"), read_schemas),
    ):
        path = tmp_path / name
        path.write_bytes(content.encode())
        plain = read(path)
        path.write_bytes(mark + content.encode())
        marked = read(path)
        assert plain == marked, name
        assert plain
    scorer = Scorer(demo_databases, tmp_path / "tables.json")
    query = "SELECT count(*) FROM species"
    assert scorer.score([query], [query], ["seed_bank"], "match")[0].exact is True


# Shapes


@pytest.mark.parametrize(
    ("shape", "value", "fault"),
    [
        (TEXT, "x", None),
        (TEXT, 1, "it is the number 1, not a text"),
        (INTEGER, True, "it is true, not an integer"),
        (NUMBER, 1.5, None),
        (NUMBER, "long" * 10, "it is a text, not a number"),
        (FLAG, None, "it is null, not true or false"),
        (Nullable(TEXT), None, None),
        (Nullable(TEXT), [1, 2], "it is a list of 2, not a text or null"),
        (FileName(), "a/b\udcff", None),
        (FileName(), "\ud800", "it is the text `\\ud800`, not the name of a file"),
        (FileName(), "a\0b", "it is the text `a\\x00b`, not the name of a file"),
        (FileName(), 1, "it is the number 1, not the name of a file"),
        (OneOf(("a", "b")), "c", "it is the text `c`, not one of a, b"),
        (OneOf(("a", "b")), ["a"], "it is a list of 1, not one of a, b"),
        (ListOf(TEXT), ["a", 1], "`[1]` is the number 1, not a text"),
        (ListOf(NUMBER, 2), [1], "it is a list of 1, not a list of 2"),
        (MapOf(ListOf(TEXT)), {"a b": [{}]}, "`a b[0]` is an object, not a text"),
        (Record({"a": Record({"b": TEXT})}), {"a": {}}, "`a.b` is missing"),
        (Record({"a": Record({"b": TEXT})}), {"a": {"b": 10**30}}, "`a.b` is a number, not a text"),
        (Nullable(Record({"a": TEXT})), {"a": 1}, "`a` is the number 1, not a text"),
        (Record({}, {"a": TEXT}), {"b": 1}, None),
        (Record({}, {"a": TEXT}), [], "it is a list of 0, not an object"),
        (MapOf(TEXT), {"\x1b" * 100: 1}, "`" + "\\x1b" * 14 + "\\..." + "` is the number 1, not a text"),
        (Kind("a list", (list,)), {}, "it is an object, not a list"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_with_its_place(shape, value, fault):
    found = shape.fault(value)
    assert (None if found is None else str(found)) == fault


def test_depth_is_counted_exactly(tmp_path):
    path = tmp_path / "x.json"
    for depth, fits in ((files.DEEPEST, True), (files.DEEPEST + 1, False)):
        for opening, closing in (("[", "]"), ('{"a": ', "}")):
            text = opening * depth + ("1" if opening != "[" else "") + closing * depth
            path.write_text(text, encoding="utf-8")
            if fits:
                assert read_json(path)
            else:
                with pytest.raises(QsqlError, match=f"nested more than {files.DEEPEST} deep"):
                    read_json(path)
