"""Exact match, hardness and schemas from Python."""

from __future__ import annotations

import json

import pytest

import qsql
from qsql import QsqlError, Schema, demo

TABLES = {"singer": ["id", "name", "age"], "song": ["id", "singer_id", "title"]}


def test_values_and_aliases_do_not_count():
    found = qsql.exact_match(
        "SELECT name FROM singer WHERE age > 20", "select T1.name from singer as T1 where T1.age > 35", TABLES
    )
    assert found.exact is True
    assert found.rejected is None
    assert found.hardness == "easy"
    assert found.partial["where"] == [1, 1, 1, 1, 1]
    assert len(found.partial) == 10
    assert repr(found) == "ExactMatch(exact=True)"


def test_a_rejected_prediction_tells_why_and_where():
    prediction = "select name , naïve_name from singer"
    found = qsql.exact_match("SELECT name FROM singer", prediction, TABLES)
    assert (found.exact, found.rejected) == (False, "unknown column `naïve_name`")
    assert prediction[found.position :] == "naïve_name from singer"
    found = qsql.exact_match("SELECT name FROM singer", "select name as n from singer", TABLES)
    assert (found.rejected, found.position) == ("column alias is not in the grammar", 12)


def test_foreign_keys_make_columns_equal():
    gold = "SELECT T1.id FROM singer AS T1 JOIN song AS T2 ON T1.id = T2.singer_id"
    prediction = "SELECT T2.singer_id FROM singer AS T1 JOIN song AS T2 ON T1.id = T2.singer_id"
    assert qsql.exact_match(gold, prediction, TABLES).exact is False
    keyed = Schema(TABLES, [("song.singer_id", "singer.id")])
    assert qsql.exact_match(gold, prediction, keyed).exact is True


def test_hardness_is_the_official_one():
    assert qsql.hardness("SELECT name FROM singer", TABLES) == "easy"
    assert qsql.hardness("SELECT name FROM singer WHERE age = (SELECT max(age) FROM singer)", TABLES) == "hard"


def test_a_gold_that_the_grammar_rejects_is_an_error():
    with pytest.raises(QsqlError, match=r"rejects the gold `SELECT 1`: .*\nhint: "):
        qsql.exact_match("SELECT 1", "SELECT 1", TABLES)
    with pytest.raises(QsqlError, match="rejects the gold"):
        qsql.hardness("SELECT a FROM nowhere", TABLES)


def test_a_foreign_key_must_name_columns():
    with pytest.raises(QsqlError, match=r"no column `song\.singer`"):
        Schema(TABLES, [("song.singer", "singer.id")])


def test_a_schema_is_read_from_a_database(demo_databases, tmp_path):
    file = demo_databases / "seed_bank" / "seed_bank.sqlite"
    declared, listed = Schema.read(file), Schema.read(file, demo.TABLES)
    golds = [line.split("\t") for line in demo.GOLD.read_text(encoding="utf-8").splitlines()]
    for gold in [sql for sql, db_id in golds if db_id == "seed_bank"]:
        assert qsql.exact_match(gold, gold, declared).exact
        assert qsql.hardness(gold, declared) == qsql.hardness(gold, listed)
    tables = tmp_path / "tables.json"
    tables.write_text(json.dumps([]), encoding="utf-8")
    with pytest.raises(QsqlError, match="`seed_bank` is not listed"):
        Schema.read(file, tables)
    (tmp_path / "no.sqlite").write_text("this is no database " * 50, encoding="utf-8")
    with pytest.raises(QsqlError, match="not a database"):
        Schema.read(tmp_path / "no.sqlite")


def test_scorer_and_function_agree(demo_databases):
    golds, db_ids = zip(*(line.split("\t") for line in demo.GOLD.read_text(encoding="utf-8").splitlines()), strict=True)
    predictions = demo.PREDICTIONS["strong"].read_text(encoding="utf-8").splitlines()
    verdicts = qsql.Scorer(demo_databases, demo.TABLES).score(golds, predictions, db_ids, "match")
    for gold, prediction, db_id, verdict in zip(golds, predictions, db_ids, verdicts, strict=True):
        schema = Schema.read(demo_databases / db_id / f"{db_id}.sqlite", demo.TABLES)
        found = qsql.exact_match(gold, prediction.replace("value", "1"), schema)
        assert (found.exact, found.partial, found.hardness) == (verdict.exact, verdict.partial, verdict.hardness)
        assert (found.rejected is None) == (verdict.rejected is None)


def test_plugged_values_make_predictions_without_values_right(demo_databases):
    gold = "SELECT 'a' || 5"
    plugged = qsql.Scorer(demo_databases, plug_value=True).score([gold], ["SELECT 'x' || 1"], ["seed_bank"], "exec")
    assert (plugged[0].execution, plugged[0].capped) == (True, False)
    plain = qsql.Scorer(demo_databases).score([gold], ["SELECT 'x' || 1"], ["seed_bank"], "exec")
    assert plain[0].execution is False


def test_a_product_of_values_without_end_is_capped(demo_databases):
    values = " , ".join(str(number) for number in range(10))
    gold, prediction = f"SELECT {values}", f"SELECT {values.replace('9', '8')} , -1"
    (verdict,) = qsql.Scorer(demo_databases, plug_value=True).score([gold], [prediction], ["seed_bank"], "exec")
    assert (verdict.execution, verdict.state, verdict.capped) == (False, "scored", True)


def test_an_unknown_etype_is_an_error(demo_databases):
    with pytest.raises(QsqlError, match="`both` is not something to measure"):
        qsql.Scorer(demo_databases).score([], [], [], "both")
