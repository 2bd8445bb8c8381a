"""Hostile predictions: none may crash, hang, harm or exhaust anything, or be judged differently from run to run.

What each attempts stands in `hostile/*.jsonl`. Limits are small here, so that all end within seconds; with those that
users have, `benches/hostile.py` scores the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import corpus
import pytest
from conftest import PanicException

import qsql
from qsql import QsqlError, Scorer

CORPUS = corpus.load()
KINDS = ("compile", "functions", "memory", "modules", "nesting", "runaway", "text", "writes")
# A step of a query that calls functions on long texts takes thousands of times as long as others.
LIMITS = {kind: {"max_steps": 500 if kind == "functions" else 1_000_000, "max_memory": 16 << 20} for kind in KINDS}
# So long that steps and memory end every query: what ends by the clock may end otherwise on another machine.
PATIENCE = 3600
KNOWN = sorted({item.database for item in CORPUS})
STATES = {"scored", "sql_error", "timeout", "too_large", "forbidden"}


def kind(item):
    return item.id.split("/")[0]


def score(databases, items, threads=2, timeout=PATIENCE, etype="exec", **settings):
    """Score items against a gold with rows and one without; returns pairs of item and verdict."""
    found = []
    for name in KINDS:
        chosen = [item for item in items if kind(item) == name for _ in (True, False)]
        golds = [corpus.gold(item.database, rows=index % 2 == 0) for index, item in enumerate(chosen)]
        limits = {limit: min(value, settings.get(limit, value)) for limit, value in LIMITS[name].items()}
        scorer = Scorer(databases, threads=threads, timeout=timeout, **limits)
        verdicts = scorer.score(golds, [item.text for item in chosen], [item.database for item in chosen], etype)
        found += zip(chosen, verdicts, strict=True)
    return found


def summary(verdict):
    return (verdict.execution, verdict.state, verdict.failed_on, verdict.detail)


def snapshot(folder):
    """Path, content and time of change of every file below a folder."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return [(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files]


@pytest.fixture(scope="module")
def demo_databases(demo_databases, tmp_path_factory):
    """The demo databases, and one with virtual tables."""
    folder = tmp_path_factory.mktemp("hostile") / "databases"
    return corpus.build_archive(shutil.copytree(demo_databases, folder))


@pytest.fixture(scope="module")
def judged(demo_databases):
    return score(demo_databases, CORPUS)


def test_there_are_enough_of_each_kind():
    counts = Counter(map(kind, CORPUS))
    assert set(counts) == set(KINDS)
    assert min(counts.values()) >= 40


VERBS = [
    *("INSERT", "REPLACE", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "REINDEX", "ANALYZE", "VACUUM"),
    *("ATTACH", "DETACH", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "PRAGMA"),
]


@pytest.mark.parametrize(
    "attempt",
    [
        *(rf"\A{verb}\b" for verb in VERBS),
        *(rf"\AWITH\b.*\) {verb}\b" for verb in VERBS),
        *(rf"\ACREATE ({thing})\b" for thing in ("TABLE", "TEMP TABLE", "INDEX", "VIEW", "TRIGGER", "VIRTUAL TABLE")),
        r"WITH RECURSIVE .* SELECT count\(\*\) FROM r\Z",
        *(rf"\ASELECT count\(\*\) FROM \w+(, \w+ AS t\d+){{{times}}}\Z" for times in (3, 5, 7, 11, 19, 39, 63)),
        *(rf"{function}\(" for function in ("zeroblob", "randomblob", "printf", "group_concat", "load_extension")),
        *(rf"{function}\(" for function in ("readfile", "writefile", "json_extract", "json_set", "json_tree")),
        r"\({10000}",
        r"( UNION ALL SELECT 1){10000}",
        r"'x{10000000}'",
        "\0",
        "[\udc80-\udcff]",
        r";\s*DROP TABLE",
        r"\A(--|/\*).*(DELETE|DROP)",
        r"VACUUM INTO",
        r"PRAGMA writable_schema",
        r"sqlite_dbpage",
        r" LIKE '.*(%_){1000}",
        *(rf"'c3'.*\b{function}\(" for function in ("trim", "ltrim", "rtrim", "unhex")),
        *(rf"( {join} JOIN \w+ AS t\d+( ON [\w.]+ [<=] [\w.]+)?){{40}}" for join in ("FULL", "RIGHT", "NATURAL")),
        r"( UNION SELECT x \+ \d+ FROM r){400}",
        r" GLOB ",
        r"\?",
        r":\w+\b",
        r"\ASELECT 1(, \d+){1999} WHERE",
        r"\ASELECT 1(, 1 AS c\d+){25} FROM",
    ],
)
def test_everything_that_is_known_to_do_harm_is_attempted(attempt):
    assert any(re.search(attempt, item.text, re.DOTALL) for item in CORPUS)


def test_every_item_says_what_it_attempts():
    assert len({item.id for item in CORPUS}) == len(CORPUS)
    assert all(item.attempts and item.states for item in CORPUS)
    assert len({item.text for item in CORPUS}) == len(CORPUS)


def test_states_are_as_expected(judged):
    wrong = [f"{item.id}: {verdict!r:.200}" for item, verdict in judged if verdict.state not in item.states]
    assert wrong == []


def test_nothing_that_writes_is_right(judged):
    right = {item.id for item, verdict in judged if verdict.execution and kind(item) == "writes"}
    # What stands behind the first statement is cut off and never runs, as in the official tool.
    assert {name.split("-")[0] for name in right} <= {"writes/multi"}
    for item, verdict in judged:
        assert verdict.execution is (verdict.state == "scored" and verdict.detail is None), item.id


def test_no_verdict_is_long(judged):
    assert max(len(verdict.detail or "") for _, verdict in judged) < 400


@pytest.mark.timeout(900)
def test_verdicts_are_the_same_in_twenty_runs(demo_databases):
    """On any number of threads, and whatever was scored before."""
    limits = {"max_steps": 2000, "max_memory": 8 << 20}
    expected = None
    for run in range(20):
        items = CORPUS if run % 2 == 0 else CORPUS[::-1]
        judged = score(demo_databases, items, threads=(1, 2, 8)[run % 3], **limits)
        found = sorted((item.id, index % 2, str(summary(verdict))) for index, (item, verdict) in enumerate(judged))
        expected = expected or found
        assert [pair for pair in zip(expected, found, strict=True) if pair[0] != pair[1]] == [], run


def test_verdicts_are_the_same_on_databases_that_are_held_in_memory(demo_databases, judged):
    """From the second call of a scorer on; `judged` is of first calls, on files."""
    for name in KINDS:
        found = [(item, verdict) for item, verdict in judged if kind(item) == name]
        golds = [corpus.gold(item.database, rows=index % 2 == 0) for index, (item, _) in enumerate(found)]
        texts, db_ids = [item.text for item, _ in found], [item.database for item, _ in found]
        scorer = Scorer(demo_databases, threads=2, timeout=PATIENCE, **LIMITS[name])
        scorer.score(["SELECT 1"] * len(KNOWN), ["SELECT 1 AS one"] * len(KNOWN), KNOWN, "exec")
        again = scorer.score(golds, texts, db_ids, "exec")
        wrong = [
            (item.id, summary(verdict), summary(held))
            for (item, verdict), held in zip(found, again, strict=True)
            if summary(verdict) != summary(held)
        ]
        assert wrong == []


def test_exact_match_survives_the_corpus(demo_databases):
    verdicts = [verdict for _, verdict in score(demo_databases, CORPUS, etype="match")]
    assert {(verdict.exact, verdict.canonical_exact) for verdict in verdicts} == {(False, False)}
    assert max(len(verdict.rejected or "") for verdict in verdicts) < 400


def test_functions_on_texts_return_or_raise():
    """Also on a thread of Python, whose stack is not ours."""
    schema = qsql.Schema({table: [column] for table, column in corpus.TABLES.values()})
    outcomes = []

    def outcome(function, *arguments):
        try:
            return str(function(*arguments))
        except (QsqlError, UnicodeEncodeError) as error:
            return str(error)

    def call():
        for text in [item.text for item in CORPUS]:
            outcomes.append(outcome(qsql.canonicalize, text, schema))
            outcomes.append(outcome(qsql.hardness, text, schema))
            outcomes.append(outcome(qsql.exact_match, "SELECT tool_id FROM tools", text, schema))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert len(outcomes) == 3 * len(CORPUS)
    assert [text for text in outcomes if "internal error" in text] == []


CHILD = """
import json, os, resource, sys, threading
sys.path.insert(0, sys.argv[2])
import corpus
from qsql import Scorer
databases, items, deadline = sys.argv[1], corpus.load(), 1.0
queue, done = list(enumerate(items)), []
def judged(scorer, index, item):
    gold = corpus.gold(item.database, rows=index % 8 < 4)
    (verdict,) = scorer.score([gold], [item.text], [item.database], "exec")
    return item.id, verdict.state
def work():
    scorer = Scorer(databases, threads=1, timeout=deadline)
    while queue:
        index, item = queue.pop()
        done.append(judged(scorer, index, item))
files = lambda: len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
before = files()
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"files": files() - before, "peak": peak, "done": done}))
"""


def test_a_process_stays_as_it_was(demo_databases, tmp_path):
    """The corpus in a process of its own, with a user's limits but 1 s: it ends, small, and leaves no trace."""
    working, temporary = tmp_path / "working", tmp_path / "temporary"
    working.mkdir()
    temporary.mkdir()
    before = snapshot(demo_databases)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(demo_databases), str(Path(__file__).parent)],
        cwd=working,
        env={**os.environ, "TMPDIR": str(temporary), "SQLITE_TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    found = json.loads(done.stdout)
    # How exactly the deadline is kept, benches/hostile.py measures.
    assert sorted(name for name, _ in found["done"]) == sorted(item.id for item in CORPUS)
    assert {state for _, state in found["done"]} == STATES
    # A scorer that is gone has closed its databases.
    assert found["files"] <= 0
    assert found["peak"] < 1 << 30
    assert snapshot(demo_databases) == before
    assert list(working.iterdir()) == []
    assert list(temporary.iterdir()) == []
    assert [path for path in Path("/tmp").glob("hostile*.sqlite*") if path.is_file()] == []  # noqa: S108


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Folder with a database of 5 MB, on which values may be 4 MiB large."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "large").mkdir()
    connection = sqlite3.connect(folder / "large" / "large.sqlite")
    connection.execute("CREATE TABLE t (a TEXT)")
    connection.execute("INSERT INTO t VALUES (?), (?)", ("x" * 3_900_000, "y" * 1_000_000))
    connection.commit()
    connection.close()
    return folder


@pytest.mark.parametrize("size", [3_900_000, 1_000_000, 200_000, 60_000])
@pytest.mark.parametrize(
    "repeated",
    [
        *(
            "length(z)",
            "a.z = k.z COLLATE NOCASE",
            "json_type(y, '$[#-1]')",
            "z LIKE '%x%x%x%y'",
            "CAST(z AS BLOB) IS NULL",
        ),
        *("d * d", "trim(z, z) IS NULL", "unhex(z, z) IS NULL"),
    ],
)
def test_large_values_do_not_hide_the_clock(large, repeated, size):
    """Between two jumps of its program nothing can stop a query, and each instruction may go through a large value."""
    texts = f"k(z) AS MATERIALIZED (SELECT printf('%.*c', {size}, 'x'))"
    arrays = f"m(y) AS MATERIALIZED (SELECT '[' || replace(printf('%.*c', {size // 2 - 10}, '1'), '1', '1,') || '1]')"
    digits = f"n(d) AS MATERIALIZED (SELECT printf('%.*c', {size}, '1'))"
    table = "m" if "json" in repeated else "n" if "d" in repeated.split() else "k, k AS a" if "a.z" in repeated else "k"
    chains = [
        f"WITH {arrays}, {texts}, {digits}, c0(x) AS (SELECT {repeated} FROM {table})"
        + "".join(f", c{number + 1}(x) AS (SELECT x + x FROM c{number})" for number in range(times))
        + f" SELECT x FROM c{times}"
        for times in range(5, 17)
    ]
    repetitions = [
        f"WITH {arrays}, {texts}, {digits} SELECT 1{f', {repeated}' * times} FROM {table}"
        for times in (30, 100, 300, 900)
    ]
    queries = chains + repetitions
    scorer = Scorer(large, threads=1, timeout=0.2)

    def seconds(query):
        started = time.process_time()
        (verdict,) = scorer.score(["SELECT 1 WHERE 0"], [query], ["large"], "exec")
        assert verdict.state in STATES
        return time.process_time() - started

    for query in queries:
        # Of work, not of the clock: others may keep the machine busy.
        assert seconds(query) < 1.2, query


CONTINUED = "CAST(unhex('c3' || replace(hex(zeroblob(n)), '00', '80')) AS TEXT)"
# A set of characters that are no UTF-8, one of each length up to hundreds of bytes, as large as a value may be.
LENGTHS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {most}), s(x) AS ({set})"
PREFIXES = LENGTHS.replace("{set}", f"SELECT 'a' || group_concat({CONTINUED}, '') FROM r")
SUBJECT = "replace(hex(zeroblob(40000)), '0', 'a')"
TAIL = "CAST(unhex('62' || replace(hex(zeroblob(200000)), '00', '80')) AS TEXT)"


@pytest.mark.parametrize("most", [400, 1200])
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (f"length(trim({SUBJECT}, x))", 0),
        (f"length(ltrim({SUBJECT}, x))", 0),
        (f"length(rtrim({SUBJECT}, x))", 0),
        (f"octet_length(ltrim({SUBJECT} || 'b', x))", 1),
        (f"octet_length(trim({TAIL}, CAST(x'80' AS TEXT) || x))", 1),
        (f"octet_length(rtrim({TAIL}, x))", 200_001),
        (f"octet_length(rtrim({TAIL}, CAST(x'80' AS TEXT) || x))", 1),
        # The first character of the set counts: the shortest, of those that begin each other.
        ("octet_length(x) - octet_length(ltrim(x, x))", 5),
        ("octet_length(rtrim(x, substr(x, 2)))", 1),
        (f"length(unhex({SUBJECT}, x))", 40_000),
        (f"unhex(replace({SUBJECT}, 'a', 'y'), x) IS NULL", 1),
        ("octet_length(unhex(substr(x, 2), x))", 0),
        ("instr(x, substr(x, -1)) > 0", 1),
        ("length(replace(x, substr(x, -1), ''))", None),
    ],
)
def test_functions_on_invalid_text_take_linear_time(large, call, expected, most):
    """At sizes on which SQLite's own functions take minutes, during which nothing can stop them."""
    query = f"{PREFIXES.replace('{most}', str(most))} SELECT {call} FROM s"
    gold = f"SELECT {most if expected is None else expected}"
    (verdict,) = Scorer(large, threads=1, timeout=PATIENCE).score([gold], [query], ["large"], "exec")
    assert (verdict.state, verdict.execution) == ("scored", True), verdict


def latin_square_graph(order, symbol):
    """Whether cells of a Latin square share a row, a column or a symbol, for each pair of them."""
    cells = [(row, column, symbol(row, column)) for row in range(order) for column in range(order)]
    return [[2 if a == b else int(any(x == y for x, y in zip(a, b, strict=True))) for b in cells] for a in cells]


def table_query(rows):
    texts = " UNION ALL ".join("SELECT '{}'".format("".join(map(str, row))) for row in rows)
    columns = ", ".join(f"substr(x, {place + 1}, 1)" for place in range(len(rows[0])))
    return f"WITH t(x) AS ({texts}) SELECT {columns} FROM t"


@pytest.mark.parametrize("half", [2, 3, 4, 5, 6])
def test_look_alike_columns_are_compared_within_the_limits(large, half):
    """The graphs of Latin squares: all rows and columns of all of them have the same cells."""

    def dihedral(row, column):
        turned = (row + column if row < half else row + half - column) % half
        return turned + (0 if (row < half) == (column < half) else half)

    cyclic = latin_square_graph(2 * half, lambda row, column: (row + column) % (2 * half))
    other = latin_square_graph(2 * half, dihedral)
    moved = [[*row[7:], *row[:7]] for row in cyclic[::-1]]
    scorer = Scorer(large, threads=1, timeout=PATIENCE)
    same, different = scorer.score([table_query(cyclic)] * 2, [table_query(moved), table_query(other)], ["large"] * 2)
    assert (same.state, same.execution) == ("scored", True)
    assert (different.execution, different.detail) == (False, "the same cells as the gold in other places")
    # A comparison has a deadline as a query has.
    hurried = Scorer(large, threads=1, timeout=0.05)
    (verdict,) = hurried.score([table_query(cyclic)], [table_query(other)], ["large"])
    assert verdict.execution is False
    assert verdict.state in {"scored", "timeout"}


def test_large_values_are_read(large):
    """The bound on work leaves ordinary queries on large values alone."""
    gold = "SELECT length(a), length(upper(a)) FROM t WHERE a LIKE '%y%' OR length(a) > 5 ORDER BY length(a)"
    (verdict,) = Scorer(large).score([gold], [f"{gold} DESC"], ["large"], "exec")
    assert (verdict.execution, verdict.state) == (False, "scored")
    (verdict,) = Scorer(large).score([gold], [gold.replace("> 5", ">= 6")], ["large"], "exec")
    assert verdict.execution is True


def test_a_hostile_gold_is_an_error_of_its_items_only(demo_databases):
    items = [item for item in CORPUS if item.states.isdisjoint({"scored"})]
    for name in KINDS:
        chosen = [item for item in items if kind(item) == name and "\0" not in item.text]
        chosen = [item for item in chosen if item.text.isprintable() or item.text.isascii()]
        scorer = Scorer(demo_databases, timeout=PATIENCE, **{**LIMITS[name], "max_steps": 500})
        golds, names = [item.text for item in chosen], [item.database for item in chosen]
        verdicts = scorer.score(golds, ["SELECT 1"] * len(chosen), names, "exec")
        assert {verdict.state for verdict in verdicts} <= {"gold_error"}
        if chosen:
            with pytest.raises(QsqlError, match="item 0 "):
                scorer.execution([chosen[0].text], ["SELECT 1"], [chosen[0].database])


def test_look_alike_columns_are_no_search(demo_databases):
    """The official tool would try 26! permutations."""
    columns = ", ".join(f"a.species_id / {2 + number} AS c{number}" for number in range(25))
    gold = f"SELECT {columns}, a.species_id FROM species AS a"
    prediction = f"SELECT a.species_id, {columns} FROM species AS a"
    nearly = prediction.replace("/ 26", "/ 27")
    scorer = Scorer(demo_databases, timeout=PATIENCE)
    verdicts = scorer.score([gold] * 2, [prediction, nearly], ["seed_bank"] * 2)
    assert [verdict.execution for verdict in verdicts] == [True, False]


def panics():
    """Calls into which a panic comes: pyo3 goes on with one where Python raises its exception for it."""
    sequence = type("Panics", (list,), {"__iter__": lambda _: panic(), "__len__": lambda _: 1})
    schema = {"t": sequence(["a"])}
    return {
        "Schema": lambda: qsql.Schema(schema),
        "canonicalize": lambda: qsql.canonicalize("SELECT 1", schema),
        "hardness": lambda: qsql.hardness("SELECT a FROM t", schema),
        "exact_match": lambda: qsql.exact_match("SELECT a FROM t", "SELECT a FROM t", schema),
    }


def panic(*_):
    raise PanicException("a defect")


@pytest.mark.parametrize("name", panics())
def test_a_panic_in_a_function_is_an_ordinary_error(name):
    with pytest.raises(QsqlError, match=rf"internal error in `{name}`: .*a defect.*\nhint: please report"):
        panics()[name]()


def test_a_panic_in_a_call_ends_it_at_once(demo_databases):
    # Nothing else would end it before the test counts as hanging.
    scorer = Scorer(demo_databases, timeout=PATIENCE, max_steps=10**15)
    (item,) = [item for item in CORPUS if item.id == "runaway/count"]
    with pytest.raises(QsqlError, match="internal error in `progress`"):
        scorer.score([corpus.gold(item.database, rows=True)], [item.text], [item.database], progress=panic)
    gold = corpus.gold(item.database, rows=True)
    assert scorer.execution([gold], [f"{gold} LIMIT -1"], [item.database]).tolist() == [True]
