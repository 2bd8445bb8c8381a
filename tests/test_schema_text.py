"""Schemas as `CREATE TABLE` statements, from databases and from `tables.json`."""

from __future__ import annotations

import json
import sqlite3

import pytest

from qsql import QsqlError, check, demo
from qsql._core import describe_definitions
from qsql.schema_text import SchemaStyle, Table, read_schemas, read_spider_tables, schema_text, tables_of_database

SCRIPT = """
CREATE TABLE "order" (id INTEGER PRIMARY KEY AUTOINCREMENT, "unit price" REAL, note, key VARCHAR(20));
CREATE TABLE part (maker INT, number INT, of INT REFERENCES "order", PRIMARY KEY (number, maker));
CREATE TABLE use (maker INT, number INT, FOREIGN KEY (number, maker) REFERENCES part (number, maker));
INSERT INTO "order" VALUES (1, 2.5, 'it''s */ odd', NULL), (2, 2.5, '  a
long text that goes on and on and on and on and on and on and on', x'00');
"""


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop" / "shop.sqlite"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.executescript(SCRIPT)
    return path


def test_a_schema_has_names_and_types(database):
    assert schema_text(tables_of_database(database)) == (
        'CREATE TABLE "order" (id INTEGER, "unit price" REAL, note, key VARCHAR(20));\n'
        "CREATE TABLE part (maker INT, number INT, of INT);\n"
        "CREATE TABLE use (maker INT, number INT);"
    )


def test_a_schema_can_have_keys(database):
    lines = schema_text(tables_of_database(database), SchemaStyle(keys=True)).splitlines()
    assert lines[1] == (
        "CREATE TABLE part (maker INT, number INT, of INT, PRIMARY KEY (number, maker), "
        'FOREIGN KEY (of) REFERENCES "order");'
    )
    assert lines[2].endswith("FOREIGN KEY (number, maker) REFERENCES part (number, maker));")


def test_a_schema_can_have_values_and_still_compiles(database):
    text = schema_text(tables_of_database(database, 3), SchemaStyle(keys=True, values=3))
    assert text.splitlines()[0].endswith(
        " /* id: 1, 2; \"unit price\": 2.5; note: 'it''s * / odd', "
        "'a long text that goes on and on and on and on and...' */"
    )
    names = [table["name"] for table in describe_definitions(text)]
    assert names == ["order", "part", "use"]


def test_schemas_of_a_folder_and_of_tables_json_have_the_same_names(tmp_path):
    databases = demo.build(tmp_path / "databases")
    from_files, from_json = read_schemas(databases), read_schemas(demo.TABLES)
    assert set(from_files) == set(from_json)
    for db_id, text in from_files.items():
        tables = [
            [(table["name"], [name for name, _, _ in table["columns"]]) for table in describe_definitions(schema)]
            for schema in (text, from_json[db_id])
        ]
        assert tables[0] == tables[1]


def test_every_gold_compiles_against_the_schema_texts(tmp_path):
    examples = json.loads((demo.GOLD.parent / "examples.json").read_text())
    for path in (demo.build(tmp_path / "databases"), demo.TABLES):
        for style in (SchemaStyle(), SchemaStyle(keys=True, values=2)):
            schemas = read_schemas(path, style)
            found = check([schemas[item["db_id"]] for item in examples], [item["query"] for item in examples])
            assert [item.detail for item in found if item.error] == []


def test_spider_training_golds_compile_but_for_those_that_are_wrong(spider):
    examples = json.loads((spider / "train_spider.json").read_text()) + json.loads((spider / "dev.json").read_text())
    schemas = read_schemas(spider / "tables.json", SchemaStyle(keys=True))
    found = check([schemas[item["db_id"]] for item in examples], [item["query"] for item in examples])
    wrong = [(item.error, item.name) for item in found if item.error]
    assert sorted(wrong, key=str) == [("no_such_table", "Ref_Company_Types"), ("other", None), ("other", None)]


def test_keys_of_several_columns_and_own_tables_of_sqlite_are_read(tmp_path):
    entry = {
        "db_id": "x",
        "table_names_original": ["t", "sqlite_sequence"],
        "column_names_original": [[-1, "*"], [0, "a"], [0, "b c"], [1, "name"]],
        "column_types": ["text", "number", "others", "text"],
        "primary_keys": [[1, 2]],
        "foreign_keys": [[2, 1]],
    }
    path = tmp_path / "tables.json"
    path.write_text(json.dumps([entry]))
    assert read_spider_tables(path) == {
        "x": [Table("t", [("a", "NUMERIC"), ("b c", "")], ["a", "b c"], [(["b c"], "t", ["a"])])]
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("{}", "is not a list"),
        ('[{"db_id": "x"}]', "entry 1: KeyError"),
        (
            '[{"db_id": "x", "table_names_original": ["t"], "column_names_original": [[0, "a"]], "column_types": []}]',
            "entry 1",
        ),
    ],
)
def test_a_bad_tables_json_is_an_error_that_names_the_entry(tmp_path, content, message):
    path = tmp_path / "tables.json"
    path.write_text(content)
    with pytest.raises(QsqlError, match=message + r"(.|\n)*hint: "):
        read_schemas(path)


def test_folders_and_files_without_schemas_are_errors(tmp_path):
    with pytest.raises(QsqlError, match="no databases in"):
        read_schemas(tmp_path)
    with pytest.raises(QsqlError, match="cannot read"):
        read_schemas(tmp_path / "tables.json")
    empty = tmp_path / "empty.sqlite"
    sqlite3.connect(empty).close()
    with pytest.raises(QsqlError, match="has no tables"):
        tables_of_database(empty)
