"""Databases with virtual tables: full-text indexes, R*Trees, GeoPackages, and tables of modules that are not there.

Hostile queries on them are in `hostile/modules.jsonl`.
"""

from __future__ import annotations

import json
import random
import sqlite3

import pytest
from chat_server import chat_server, completion

import qsql
from qsql import QsqlError, Scorer
from qsql.generate.selection import find_faults
from qsql.rewards import ExecutionReward
from qsql.schema_text import SchemaStyle, schema_text, tables_of_database

# As GDAL writes it: an R-tree on the boxes of geometries, kept by triggers that call functions of an extension.
GEOPACKAGE = """
PRAGMA application_id = 0x47504B47;
PRAGMA user_version = 10300;
CREATE TABLE gpkg_contents (table_name TEXT PRIMARY KEY, data_type TEXT NOT NULL, srs_id INTEGER);
CREATE TABLE gpkg_geometry_columns (table_name TEXT, column_name TEXT, geometry_type_name TEXT);
INSERT INTO gpkg_contents VALUES ('places', 'features', 4326);
INSERT INTO gpkg_geometry_columns VALUES ('places', 'geom', 'POINT');
CREATE TABLE places (fid INTEGER PRIMARY KEY AUTOINCREMENT, geom BLOB, name TEXT, people REAL);
INSERT INTO places VALUES (1, x'4750', 'Alder', 1.5), (2, x'4751', 'Birch', 20.25), (3, x'4752', 'Cedar', 3),
    (4, NULL, 'Dogwood', 4);
CREATE VIRTUAL TABLE rtree_places_geom USING rtree(id, minx, maxx, miny, maxy);
INSERT INTO rtree_places_geom VALUES (1, 0, 1, 0, 1), (2, 5, 6, 5, 6), (3, 7.5, 8, 7, 8);
CREATE TRIGGER rtree_places_geom_insert AFTER INSERT ON places WHEN NEW.geom NOT NULL AND NOT ST_IsEmpty(NEW.geom)
BEGIN INSERT OR REPLACE INTO rtree_places_geom VALUES (NEW.fid, ST_MinX(NEW.geom), ST_MaxX(NEW.geom),
    ST_MinY(NEW.geom), ST_MaxY(NEW.geom)); END;
CREATE TRIGGER rtree_places_geom_delete AFTER DELETE ON places WHEN OLD.geom NOT NULL
BEGIN DELETE FROM rtree_places_geom WHERE id = OLD.fid; END;
CREATE VIEW areas AS SELECT fid, ST_Area(geom) AS area FROM places;
CREATE VIRTUAL TABLE notes USING fts5(title, body);
INSERT INTO notes VALUES ('hello world', 'the quick brown fox'), ('other', 'lazy dogs say hello'),
    ('third', 'nothing at all');
CREATE VIRTUAL TABLE words USING fts5vocab(notes, 'row');
CREATE VIRTUAL TABLE letters USING fts4(title, body);
INSERT INTO letters SELECT title, body FROM notes;
CREATE VIRTUAL TABLE grams USING fts5(name, tokenize = 'trigram');
INSERT INTO grams SELECT name FROM places;
CREATE VIRTUAL TABLE outside USING fts5(name, content = 'places', content_rowid = 'fid');
INSERT INTO outside(outside) VALUES ('rebuild');
"""
UNKNOWN = "CREATE VIRTUAL TABLE SpatialIndex USING VirtualSpatialIndex()"


def write(folder, *oddities, people=1.0):
    """Write the GeoPackage `geo`, with a table of an unknown module or a damaged one."""
    (folder / "geo").mkdir(exist_ok=True, parents=True)
    path = folder / "geo" / ("geo.sqlite" if people == 1.0 else f"geov{people:g}.sqlite")
    connection = sqlite3.connect(path)
    # Before the triggers are there, which nobody could run.
    connection.executescript(GEOPACKAGE.replace("'Dogwood', 4", f"'Dogwood', {people}"))
    if "torn" in oddities:
        connection.executescript("CREATE VIRTUAL TABLE torn USING rtree(id, a, b); INSERT INTO torn VALUES (1, 2, 3)")
        connection.execute("UPDATE torn_node SET data = x'00'")
    if "unknown" in oddities:
        connection.execute("PRAGMA writable_schema = 1")
        connection.execute(
            "INSERT INTO sqlite_master VALUES ('table', 'SpatialIndex', 'SpatialIndex', 0, ?)", (UNKNOWN,)
        )
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def geo(tmp_path):
    """The GeoPackage with everything that may be wrong with one."""
    return write(tmp_path / "databases", "unknown", "torn")


READS = [
    "SELECT name FROM places JOIN rtree_places_geom AS r ON r.id = fid WHERE minx > 2 ORDER BY name",
    "SELECT count(*), max(maxx) FROM rtree_places_geom WHERE minx <= 6 AND maxx >= 0.5",
    "SELECT id FROM rtree_places_geom WHERE id IN (SELECT fid FROM places WHERE people > 2)",
    "SELECT * FROM rtree_places_geom",
    "SELECT nodeno, length(data) FROM rtree_places_geom_node",
    "SELECT title FROM notes WHERE notes MATCH 'hello' ORDER BY rank",
    "SELECT title FROM notes WHERE body MATCH 'hello'",
    "SELECT title FROM notes('hello NOT dogs')",
    "SELECT title FROM notes WHERE notes MATCH 'body : (quick OR laz*)' ORDER BY title DESC LIMIT 1",
    "SELECT title FROM notes WHERE notes MATCH 'NEAR(quick fox, 2)'",
    "SELECT highlight(notes, 0, '[', ']'), snippet(notes, -1, '<', '>', '...', 3) FROM notes WHERE notes MATCH 'hello'",
    "SELECT round(bm25(notes, 2.0, 1.0) * 1000000) FROM notes WHERE notes MATCH 'hello' ORDER BY 1",
    "SELECT rowid, * FROM notes",
    "SELECT count(*) FROM notes_content",
    "SELECT id, length(block) FROM notes_data ORDER BY id",
    "SELECT term, doc, cnt FROM words WHERE term >= 'q'",
    "SELECT title, offsets(letters), snippet(letters) FROM letters WHERE letters MATCH 'hello'",
    "SELECT title FROM letters WHERE letters MATCH 'he* brown'",
    "SELECT name FROM grams WHERE name LIKE '%war%' OR name GLOB '*oo*'",
    "SELECT name FROM outside WHERE outside MATCH 'b*' ORDER BY rowid",
    "SELECT name, type FROM pragma_table_info('rtree_places_geom')",
    "SELECT name FROM pragma_table_info('letters')",
    "PRAGMA table_info(rtree_places_geom)",
    "SELECT application_id FROM (SELECT count(*) AS application_id FROM gpkg_contents)",
    "SELECT rtreecheck('rtree_places_geom')",
]


@pytest.mark.parametrize("query", READS)
def test_what_the_modules_return_is_returned(geo, query):
    """As by Python's `sqlite3`, which the official tool runs on; and golds are golds."""
    connection = sqlite3.connect(geo)
    expected = connection.execute(query).fetchall()
    connection.close()
    found = qsql.query(geo, query)
    assert (found.state, found.detail) == ("ran", None)
    assert found.rows == expected
    assert expected
    scorer = Scorer(geo.parent.parent)
    verdicts = scorer.score([query] * 2, [f"{query} -- again", f"SELECT 'x' FROM ({query})"], ["geo"] * 2, "exec")
    if not query.startswith("PRAGMA"):
        assert [verdict.execution for verdict in verdicts] == [True, False]


def test_what_cannot_be_read_is_the_query_s_fault(geo):
    for query, state, detail in [
        ("SELECT * FROM SpatialIndex", "sql_error", "no such module: VirtualSpatialIndex"),
        ("SELECT * FROM torn WHERE a > 1", "sql_error", "malformed|undersize"),
        ("SELECT * FROM areas", "sql_error", "no such function: ST_Area"),
        ("SELECT title FROM notes WHERE notes MATCH '\"'", "sql_error", "unterminated string"),
        ("SELECT matchinfo(letters) FROM letters WHERE letters MATCH 'a'", "forbidden", "no bounds"),
    ]:
        found = qsql.query(geo, query)
        assert found.state == state, query
        assert any(part in found.detail for part in detail.split("|")), found.detail
    (verdict,) = Scorer(geo.parent.parent).score(["SELECT * FROM SpatialIndex"], ["SELECT 1"], ["geo"])
    assert verdict.state == "gold_error"


WRITES = [
    "INSERT INTO rtree_places_geom VALUES (9, 0, 1, 0, 1)",
    "DELETE FROM rtree_places_geom_node",
    "REPLACE INTO rtree_places_geom_rowid VALUES (1, 1)",
    "UPDATE rtree_places_geom_parent SET parentnode = 1",
    "WITH x AS (SELECT 1) DELETE FROM rtree_places_geom_node RETURNING *",
    "EXPLAIN INSERT INTO rtree_places_geom_node VALUES (5, x'00')",
    "INSERT INTO notes (notes) VALUES ('rebuild')",
    "DELETE FROM notes_data",
    "SELECT optimize(letters) FROM letters",
    "INSERT INTO places (name) VALUES ('x')",
    "PRAGMA page_size",
    "PRAGMA main.data_version",
    "EXPLAIN /* x */ QUERY PLAN PRAGMA page_size",
    "SELECT * FROM pragma_page_size",
    "SELECT d.data_version FROM notes, pragma_data_version AS d",
    "PRAGMA application_id",
    "CREATE VIRTUAL TABLE temp.x USING fts5(a)",
    "SELECT fts3_tokenizer('simple')",
]


@pytest.mark.parametrize("query", WRITES)
def test_nothing_is_written_and_no_other_pragma_asked(geo, query):
    before = geo.read_bytes()
    assert qsql.query(geo, query).state == "forbidden"
    (verdict,) = Scorer(geo.parent.parent).score(["SELECT 1"], [query], ["geo"], "exec")
    assert verdict.state == "forbidden"
    assert geo.read_bytes() == before
    assert [path.name for path in geo.parent.iterdir()] == ["geo.sqlite"]


def test_variants_and_rewards_have_virtual_tables_too(tmp_path):
    for people in (1.0, 7.0, 30.0):
        write(tmp_path, "unknown", people=people)
    gold = "SELECT count(*) FROM outside JOIN places ON places.fid = outside.rowid WHERE people > 6"
    wrong = "SELECT 1 FROM rtree_places_geom LIMIT 1"
    scorer = Scorer(tmp_path, cache_dir=tmp_path / "cache")
    for _ in range(3):
        right, other = scorer.score([gold] * 2, [f"{gold} -- x", wrong], ["geo"] * 2)
        assert (right.execution, right.databases) == (True, 3)
        assert (other.execution, other.state) == (True, "scored") if other.execution else (False, "scored")
    rewards = ExecutionReward(tmp_path)(
        [[]] * 2, [f"```sql\n{gold}\n```", "```sql\nSELECT 'x'\n```"], query=[gold] * 2, db_id=["geo"] * 2
    )
    assert rewards == [1.0, 0.0]


def test_the_rest_of_the_schema_is_told(geo):
    """Without the tables that modules keep their content in, and those that no query can use."""
    tables = tables_of_database(geo, values=2)
    assert [table.name for table in tables] == [
        *("gpkg_contents", "gpkg_geometry_columns", "places", "rtree_places_geom"),
        *("notes", "words", "letters", "grams", "outside", "torn"),
    ][: len(tables)]
    assert "SpatialIndex" not in {table.name for table in tables}
    text = schema_text(tables, SchemaStyle(keys=True, values=2))
    assert "CREATE VIRTUAL TABLE notes USING fts5(title, body); /* title: 'hello world', 'other'; body: " in text
    assert "CREATE TABLE places (fid INTEGER, geom BLOB, name TEXT, people REAL, PRIMARY KEY (fid));" in text
    # And what it tells compiles, with queries that only virtual tables take.
    faults = find_faults([text] * len(READS), READS)
    shadows = [query for query, fault in zip(READS, faults, strict=True) if fault is not None]
    assert shadows == []
    schema = qsql.Schema.read(geo)
    assert qsql.exact_match("SELECT name FROM places", "SELECT T1.name FROM places AS T1", schema).exact is True


def test_every_command_reads_it(geo, tmp_path, run_qsql):
    databases = geo.parent.parent
    rows = [
        {"db_id": "geo", "question": f"Question {number} about {query[7:20]}?", "query": query}
        for number, query in enumerate(READS[:10])
    ]
    source = tmp_path / "rows.json"
    source.write_text(json.dumps(rows), encoding="utf-8")
    done = run_qsql(
        "data", "prepare", source, "--db", databases, "--out", tmp_path / "data", "--values", "2", "--validation", "0"
    )
    assert done.returncode == 0, done.stderr
    dropped = (tmp_path / "data" / "dropped.jsonl").read_text(encoding="utf-8")
    assert dropped == ""
    done = run_qsql("generate", "--data", source, "--db", databases, "--engine", "gold", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    done = run_qsql("eval", tmp_path / "run", "--gold", source, "--db", databases, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["all"]["execution"] == 1.0
    done = run_qsql("report", tmp_path / "run", "--html", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    pair = ["--gold", READS[5], "--pred", READS[0]]
    done = run_qsql("explain", *pair, "--db", geo)
    assert done.returncode == 0, done.stderr
    assert "hello world" in done.stdout
    with chat_server(lambda *_: completion(READS[0])) as (url, _):
        arguments = ["--engine", "openai", "--model", "m", "--base-url", url, "--run"]
        done = run_qsql("ask", "Which places?", "--db", geo, *arguments)
    assert done.returncode == 0, done.stderr
    assert "Birch" in done.stdout


# What a connection has been through, and what could show it

CONNECTION = [
    "SELECT name FROM pragma_module_list ORDER BY name",
    "SELECT count(*) FROM pragma_module_list",
    "PRAGMA module_list",
    "SELECT * FROM pragma_function_list ORDER BY 1, 2, 3, 4, 5, 6",
    "SELECT name FROM pragma_function_list WHERE name LIKE '%trim%'",
    "PRAGMA function_list",
    "SELECT name, file FROM pragma_database_list",
    "PRAGMA database_list",
    "PRAGMA collation_list",
    "SELECT * FROM pragma_collation_list",
    "PRAGMA table_list",
    "SELECT schema, name, type, ncol FROM pragma_table_list",
    "SELECT * FROM pragma_pragma_list",
    "SELECT * FROM pragma_compile_options",
    "SELECT changes(), total_changes(), last_insert_rowid()",
    "SELECT name, rootpage FROM sqlite_master",
    "SELECT count(*) FROM sqlite_temp_master",
    "SELECT * FROM temp.sqlite_schema",
    "SELECT * FROM sqlite_stmt",
    "SELECT * FROM dbstat",
    "PRAGMA integrity_check",
    "PRAGMA temp.table_info(x)",
]
OTHERS = [
    "SELECT trim(' a '), 'a' LIKE 'A'",
    "SELECT value FROM json_each('[1,2]')",
    "SELECT * FROM pragma_table_info('t')",
    "SELECT * FROM pragma_foreign_key_list('t')",
    "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 3000) SELECT x FROM r ORDER BY hex(x)",
    "SELECT nothing",
    "SELECT json_group_array(a) FROM t",
    "DELETE FROM t",
    "CREATE TEMP TABLE x (a)",
    "SELECT a FROM t ORDER BY random()",
]
MODULES = [
    "SELECT rowid FROM notes WHERE notes MATCH '* reads'",
    "SELECT rowid FROM notes WHERE notes MATCH '* id'",
    *READS,
]


def answers(folder, db_id, queries, threads=1, batch=None):
    """What each query returns, asked in this order of one scorer, in batches of a size."""
    scorer = Scorer(folder, threads=threads)
    found = []
    size = batch or len(queries)
    for start in range(0, len(queries), size):
        part = queries[start : start + size]
        found += scorer.denotations(part, [db_id] * len(part))
    return {query: (answer.state, answer.digest, answer.detail) for query, answer in zip(queries, found, strict=True)}


@pytest.mark.parametrize("kind", ["plain", "virtual"])
def test_a_query_is_the_same_alone_and_behind_others(tmp_path, kind):
    if kind == "virtual":
        write(tmp_path, "unknown", "torn")
        db_id, queries = "geo", [query for query in CONNECTION + MODULES + OTHERS if " FROM t" not in query]
    else:
        (tmp_path / "plain").mkdir()
        connection = sqlite3.connect(tmp_path / "plain" / "plain.sqlite")
        connection.executescript(
            "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'); CREATE VIEW v AS SELECT a FROM t"
        )
        connection.close()
        db_id, queries = "plain", CONNECTION + OTHERS
    queries = [query for query in queries if "random" not in query]
    alone = {}
    for query in queries:
        alone |= answers(tmp_path, db_id, [query])
    assert {state for state, _, _ in alone.values()} <= {"ran", "sql_error", "forbidden"}
    generator = random.Random(3)  # noqa: S311
    for threads, batch in [(1, None), (1, 1), (2, 5), (8, None)]:
        for _ in range(3):
            generator.shuffle(queries)
            behind = answers(tmp_path, db_id, queries, threads, batch)
            assert {query for query in queries if behind[query] != alone[query]} == set()


@pytest.mark.parametrize("gold", CONNECTION)
def test_a_gold_equals_itself_whatever_ran_between(tmp_path, gold):
    """Gold and prediction run one after the other; the official tool opens a connection for each."""
    (tmp_path / "plain").mkdir()
    connection = sqlite3.connect(tmp_path / "plain" / "plain.sqlite")
    connection.executescript("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x')")
    connection.close()
    alone = Scorer(tmp_path).score([gold], [f"{gold} -- x"], ["plain"], "exec")[0]
    scorer = Scorer(tmp_path, threads=1)
    predictions = [*OTHERS, f"{gold} -- x", *OTHERS, f"{gold} -- y"]
    verdicts = scorer.score([gold] * len(predictions), predictions, ["plain"] * len(predictions), "exec")
    found = [verdict for verdict, text in zip(verdicts, predictions, strict=True) if text.startswith(gold)]
    assert [(verdict.execution, verdict.state) for verdict in found] == [(alone.execution, alone.state)] * 2
    assert alone.execution in (True, None)


def test_a_database_that_is_none_is_still_an_error(tmp_path):
    with pytest.raises(QsqlError, match="cannot read"):
        tables_of_database(tmp_path / "absent.sqlite")
