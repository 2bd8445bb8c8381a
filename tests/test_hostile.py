"""Hostile predictions: none may crash, hang, harm or exhaust anything, or be judged differently from run to run.

What each attempts stands in `hostile/*.jsonl`. Limits are small here, so that all end within seconds; with those that
users have, `benches/hostile.py` scores the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import corpus
import pytest

from qsql import QsqlError, Scorer

CORPUS = corpus.load()
KINDS = ("functions", "memory", "nesting", "runaway", "text", "writes")
# Steps of queries that call functions on long texts take thousands of times longer than others.
LIMITS = {kind: {"max_steps": 20_000 if kind == "functions" else 1_000_000, "max_memory": 16 << 20} for kind in KINDS}
# No limit of time: what a machine is too slow for would have another verdict there.
PATIENCE = 60


def kind(item):
    return item.id.split("/")[0]


def score(databases, items, threads=2, timeout=PATIENCE, **settings):
    """Score items against a gold with rows and one without; returns pairs of item and verdict."""
    found = []
    for name in KINDS:
        chosen = [item for item in items if kind(item) == name for _ in (True, False)]
        golds = [corpus.gold(item.database, rows=index % 2 == 0) for index, item in enumerate(chosen)]
        scorer = Scorer(databases, threads=threads, timeout=timeout, **{**LIMITS[name], **settings})
        verdicts = scorer.score(golds, [item.text for item in chosen], [item.database for item in chosen])
        found += zip(chosen, verdicts, strict=True)
    return found


def summary(verdict):
    return (verdict.execution, verdict.state, verdict.failed_on, verdict.detail)


def snapshot(folder):
    """Path, content and time of change of every file below a folder."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return [(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files]


@pytest.fixture(scope="module")
def judged(demo_databases):
    return score(demo_databases, CORPUS)


def test_there_are_enough_of_each_kind():
    counts = Counter(map(kind, CORPUS))
    assert sum(counts.values()) >= 170
    assert set(counts) == set(KINDS)
    assert min(counts.values()) >= 30


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


def test_verdicts_are_the_same_on_any_number_of_threads(demo_databases, judged):
    expected = [summary(verdict) for _, verdict in judged]
    for threads in (1, 8):
        found = [summary(verdict) for _, verdict in score(demo_databases, CORPUS, threads=threads)]
        assert [pair for pair in zip(CORPUS, expected, found, strict=False) if pair[1] != pair[2]] == []
        assert found == expected


def test_verdicts_are_the_same_in_twenty_runs(demo_databases):
    limits = {"max_steps": 10_000, "max_memory": 8 << 20}
    expected = None
    for run in range(20):
        found = [summary(verdict) for _, verdict in score(demo_databases, CORPUS, threads=(1, 2, 8)[run % 3], **limits)]
        expected = expected or found
        assert found == expected, run


def test_verdicts_do_not_depend_on_what_was_scored_before(demo_databases, judged):
    expected = {(item.id, index % 2): summary(verdict) for index, (item, verdict) in enumerate(judged)}
    backwards = score(demo_databases, CORPUS[::-1])
    assert {(item.id, index % 2): summary(verdict) for index, (item, verdict) in enumerate(backwards)} == expected


def test_exact_match_survives_the_corpus(demo_databases):
    scorer = Scorer(demo_databases, threads=2, timeout=PATIENCE, max_steps=1000)
    verdicts = scorer.score(
        [corpus.gold(item.database, rows=True) for item in CORPUS],
        [item.text for item in CORPUS],
        [item.database for item in CORPUS],
        exact=True,
    )
    assert [verdict.exact for verdict in verdicts].count(None) == 0


CHILD = """
import json, os, resource, sys, tempfile
sys.path.insert(0, sys.argv[2])
import corpus, test_hostile
databases, items = sys.argv[1], corpus.load()
open_before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
states = []
for timeout in (2, 60):
    found = test_hostile.score(databases, items, threads=4, timeout=timeout, max_memory=134_217_728)
    states.append(sorted({verdict.state for _, verdict in found}))
open_after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
peak = peak if sys.platform == "linux" else peak // 1024
print(json.dumps({"files": open_after - open_before, "peak": peak, "states": states}))
"""


def test_a_process_stays_as_it_was(demo_databases, tmp_path):
    """The whole corpus in a process of its own: it ends well, small, silent, and leaves no trace."""
    working, temporary = tmp_path / "working", tmp_path / "temporary"
    working.mkdir()
    temporary.mkdir()
    before = snapshot(demo_databases)
    shared = Path(tempfile.gettempdir())
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(demo_databases), str(Path(__file__).parent)],
        cwd=working,
        env={**os.environ, "TMPDIR": str(temporary), "SQLITE_TMPDIR": str(temporary), "RUST_BACKTRACE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    found = json.loads(done.stdout)
    # A scorer that is gone has closed its databases.
    assert found["files"] <= 0
    assert found["peak"] < 1 << 20  # kB
    assert set(found["states"][1]) <= {"scored", "sql_error", "timeout", "too_large", "forbidden"}
    assert snapshot(demo_databases) == before
    assert list(working.iterdir()) == []
    assert list(temporary.iterdir()) == []
    assert [path for path in shared.glob("*hostile*") if path.is_file()] == []


def test_the_limits_of_a_user_suffer_no_deep_nesting(demo_databases):
    """Stack and memory as users have them; time is short, so that this ends soon."""
    deep = [item for item in CORPUS if kind(item) == "nesting"]
    verdicts = score(demo_databases, deep, threads=8, timeout=0.5, max_steps=1_000_000_000, max_memory=128 << 20)
    assert {verdict.state for _, verdict in verdicts} <= {"scored", "sql_error", "timeout", "too_large", "forbidden"}


def test_a_hostile_gold_is_an_error_of_its_items_only(demo_databases):
    items = [item for item in CORPUS if item.states.isdisjoint({"scored"})]
    for name in KINDS:
        chosen = [item for item in items if kind(item) == name and "\0" not in item.text]
        chosen = [item for item in chosen if item.text.isprintable() or item.text.isascii()]
        scorer = Scorer(demo_databases, timeout=PATIENCE, **LIMITS[name])
        verdicts = scorer.score(
            [item.text for item in chosen], ["SELECT 1"] * len(chosen), [item.database for item in chosen]
        )
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
