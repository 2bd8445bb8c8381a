"""What goes from process to process: results and errors are pickled and copied, and come out equal."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import pickletools
from concurrent.futures import ProcessPoolExecutor

import pytest

import qsql
from qsql import Check, Denotation, ExactMatch, QsqlError, QueryResult, Schema, Scorer, Verdict

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
TABLES = {"Singer": ["id", "Name", "age"], "concert": ["id", "singer_id", "naïve \N{MIDDLE DOT}"]}
KEYS = [("concert.singer_id", "singer.id")]
GOLD = "SELECT count(*) FROM species"
PREDICTIONS = [
    GOLD,
    "SELECT count(*), 1 FROM species",
    "SELECT x FROM species",
    "DELETE FROM species",
    None,
    "SELECT ''",
    "SELECT '\ud800'",
]
CELLS = (
    "SELECT 1, -9223372036854775808, 1.5, 1e999, -1e999, 0.0, NULL, 'text \N{SNOWMAN}', x'00ff', '' "
    "UNION ALL SELECT 1.0, 9223372036854775807, -0.0, 4.9e-324, 2, 3, 4, 'a' || char(0) || 'b', x'', NULL"
)
READ = {
    Verdict: "execution state stage databases failed_on detail capped exact canonical_exact hardness partial rejected "
    "gold_rejected",
    Denotation: "state columns rows digest detail",
    Check: "error name detail",
    ExactMatch: "exact partial rejected position hardness",
    QueryResult: "state columns rows truncated detail",
    Schema: "",
}


@pytest.fixture(scope="module")
def results(demo_databases):
    """Objects of every class that calls return, with every kind of value in them."""
    file = demo_databases / "seed_bank" / "seed_bank.sqlite"
    scorer = Scorer(demo_databases)
    schema = Schema(TABLES, KEYS)
    found = [
        *scorer.score([GOLD] * len(PREDICTIONS), PREDICTIONS, ["seed_bank"] * len(PREDICTIONS)),
        *scorer.score(["SELECT nothing", GOLD], [GOLD, "SELECT 1"], ["seed_bank"] * 2, "exec"),
        *scorer.denotations([GOLD, "SELECT x", "SELECT 1, 2, 3 WHERE 0"], ["seed_bank"] * 3),
        *qsql.check(["CREATE TABLE t (a)"] * 4, ["SELECT a FROM t", "SELECT b FROM t", "SELEC", "DELETE FROM t"]),
        *qsql.check(["CREATE TABLE"], ["SELECT 1"]),
        qsql.exact_match("SELECT name FROM singer", "SELECT name FROM singer", schema),
        qsql.exact_match("SELECT name FROM singer", "SELECT name AS n FROM singer", schema),
        qsql.query(file, CELLS),
        qsql.query(file, "SELECT * FROM species", max_rows=1),
        qsql.query(file, "SELECT nothing FROM species"),
        schema,
        Schema({}),
        Schema.read(file),
    ]
    assert {type(one) for one in found} == set(READ)
    return found


def values(result):
    """All that can be read of a result."""
    return [repr(getattr(result, name)) for name in READ[type(result)].split()]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_results_survive_pickling(results, protocol):
    for result in results:
        other = pickle.loads(pickle.dumps(result, protocol))
        assert type(other) is type(result)
        assert (other, hash(other), values(other)) == (result, hash(result), values(result))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_results_can_be_copied(results, copied):
    assert copied(results) == results
    assert [values(one) for one in copied(results)] == [values(one) for one in results]


def test_results_differ_where_a_property_does(results, demo_databases):
    for number, one in enumerate(results):
        for other in results[:number]:
            assert one != other or (values(one), type(one)) == (values(other), type(other))
        assert one != object()
    assert len(set(results)) >= len(results) - 1  # an undecodable prediction reads as one that is rejected
    file = demo_databases / "seed_bank" / "seed_bank.sqlite"
    assert qsql.query(file, "SELECT 1") == qsql.query(file, "SELECT 1")
    assert qsql.query(file, "SELECT 1") != qsql.query(file, "SELECT 1.0")
    assert qsql.query(file, "SELECT '1'") != qsql.query(file, "SELECT x'31'")
    assert Schema(TABLES) != Schema(TABLES, KEYS)
    assert Schema({"t": ["a"]}) != Schema({"t": ["b"]})
    assert Schema({"t": ["a"]}) == Schema({"T": ["A"]})


def test_a_schema_that_was_pickled_has_its_keys():
    schema = pickle.loads(pickle.dumps(Schema(TABLES, KEYS)))
    queries = [
        "SELECT singer.name FROM singer JOIN concert ON concert.singer_id = singer.id WHERE singer.id = 1",
        "SELECT singer.name FROM singer JOIN concert ON concert.singer_id = singer.id WHERE concert.singer_id = 1",
    ]
    assert qsql.exact_match(*queries, schema).exact
    assert not qsql.exact_match(*queries, Schema(TABLES)).exact
    assert qsql.canonicalize("select s.NAME from SINGER s", schema) == "SELECT name FROM singer"


def test_a_schema_read_from_a_file_equals_one_of_the_same_tables(demo_databases):
    file = demo_databases / "seed_bank" / "seed_bank.sqlite"
    assert Schema.read(file) == Schema.read(file) == pickle.loads(pickle.dumps(Schema.read(file)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_error_is_that_of_the_package(protocol):
    assert (QsqlError.__module__, QsqlError.__qualname__) == ("qsql", "QsqlError")
    error = QsqlError("a message\nhint: a hint")
    error.item = 7
    other = pickle.loads(pickle.dumps(error, protocol))
    assert (type(other), str(other), other.args, other.item) == (QsqlError, str(error), error.args, 7)
    assert str(copy.deepcopy(error)) == str(error)


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
def test_a_scorer_can_be_pickled_by_every_binary_protocol(demo_databases, protocol):
    scorer = Scorer(demo_databases, threads=1, variants=False)
    for other in (pickle.loads(pickle.dumps(scorer, protocol)), copy.copy(scorer), copy.deepcopy(scorer)):
        assert (other.threads, len(other.databases("seed_bank"))) == (1, 1)


def score(scorer, predictions):
    return scorer.score([GOLD] * len(predictions), predictions, ["seed_bank"] * len(predictions))


def fail(folder):
    return Scorer(folder)


def through(result):
    return result


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_pools_give_results_and_errors_back(results, demo_databases, tmp_path, start):
    context = multiprocessing.get_context(start)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        scorer = Scorer(demo_databases, threads=1)
        assert pool.submit(score, scorer, PREDICTIONS[:3]).result(timeout=60) == score(scorer, PREDICTIONS[:3])
        assert list(pool.map(through, results, timeout=60)) == results
        with pytest.raises(qsql.QsqlError, match=r"not found\nhint: "):
            pool.submit(fail, tmp_path / "missing").result(timeout=60)


def test_what_is_damaged_or_of_another_version_is_an_error(results):
    for result in results:
        restore, (data,) = result.__reduce__()
        with pytest.raises(QsqlError, match="what was pickled is damaged"):
            restore(data[:-1] if len(data) > 8 else b"")
        with pytest.raises(QsqlError, match="damaged"):
            restore(b"")
        version = qsql.__version__.encode()
        assert data[1:].startswith(version)
        with pytest.raises(QsqlError, match=r"pickled by qsql 9\.9\.9, and this is"):
            restore(data.replace(version, b"9.9.9", 1))


def test_pickles_name_public_classes_only(results):
    for result in [*results, QsqlError("x")]:
        names = [
            text for operation, text, _ in pickletools.genops(pickle.dumps(result, 2)) if operation.name == "GLOBAL"
        ]
        assert f"qsql {type(result).__name__}" in names
        assert not any("_core" in name for name in names)
