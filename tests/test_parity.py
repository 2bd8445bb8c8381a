"""Our verdicts against the official tool's, on real predictions: every difference fails.

Needs the environment variable QSQL_SPIDER_DIR, the folder with the official verdicts.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import pytest
from processes import PATIENCE

from qsql import Scorer
from qsql.data import read_examples, read_predictions

SINGLE, SUITE = "execution_single", "execution_suite"
SETS = [*(f"dev_{number}" for number in range(1, 12)), "dail_gpt4", "c3", "din_codex"]
GOLDS = {"mutations": "mutations_gold.sql"}
REPORTS = {
    "interactions": "interactions_gold.txt",
    **dict.fromkeys(["c3", "dail_gpt4", "dev_10", "goldself"], "dev_gold.sql"),
}


def official(spider, name):
    with gzip.open(spider / "verdicts" / f"{name}.json.gz") as file:
        return json.load(file)


def columns(spider, name, gold):
    examples = read_examples(spider / gold)
    pairing = read_predictions(spider / "predictions" / f"{name}.sql", examples)
    return [example.query for example in examples], pairing.predictions, [example.db_id for example in examples]


def assert_equal(ours, theirs, unreliable):
    assert len(ours) == len(theirs)
    judged = [index for index in range(len(ours)) if index not in unreliable]
    assert [index for index in judged if ours[index].execution != bool(theirs[index])] == []
    # Where the official tool hangs or crashes, ours still comes to an end.
    assert {ours[index].state for index in unreliable} <= {"scored", "sql_error", "timeout", "too_large"}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("databases", "verdicts"), [("databases", SINGLE), ("suite", SUITE)])
def test_predictions_are_judged_as_the_official_tool_does(spider, name, databases, verdicts):
    expected = official(spider, name)
    ours = Scorer(spider / databases, max_steps=100_000_000).score(*columns(spider, name, "dev_gold.sql"))
    assert_equal(ours, expected[verdicts], set(expected["unreliable"]))


@pytest.fixture(scope="session")
def suite3(spider):
    """Every dev database with its variants v0 to v2 only."""
    folder = spider / "suite3"
    for database in (spider / "suite").iterdir():
        if database.is_dir():
            (folder / database.name).mkdir(parents=True)
            for suffix in ("", "v0", "v1", "v2"):
                file = f"{database.name}{suffix}.sqlite"
                (folder / database.name / file).symlink_to(database / file)
    return folder


@pytest.mark.parametrize(
    ("keep_distinct", "verdicts"), [(False, "execution_suite3"), (True, "execution_suite3_keep_distinct")]
)
def test_mutations_are_judged_as_the_official_tool_does(spider, suite3, keep_distinct, verdicts):
    expected = official(spider, "mutations")
    scorer = Scorer(suite3, keep_distinct=keep_distinct)
    ours = scorer.score(*columns(spider, "mutations", "mutations_gold.sql"))
    assert_equal(ours, expected[verdicts], set(expected["unreliable"]))


@pytest.mark.parametrize("name", [name for name in SETS if name.startswith("dev_")])
def test_plugged_values_are_judged_as_the_official_tool_does(spider, name):
    expected = official(spider, name)
    scorer = Scorer(spider / "databases", plug_value=True, max_steps=100_000_000)
    ours = scorer.score(*columns(spider, name, "dev_gold.sql"), "exec")
    assert_equal(ours, expected["execution_plug_value"], set(expected["unreliable_plug_value"]))


@pytest.mark.parametrize("name", [*SETS, "mutations"])
def test_exact_match_is_the_official_one(spider, name):
    expected = official(spider, name)
    scorer = Scorer(spider / "databases", spider / "tables.json")
    ours = scorer.score(*columns(spider, name, GOLDS.get(name, "dev_gold.sql")), "match")
    judged = [index for index in range(len(ours)) if index not in set(expected["unreliable"])]
    assert [ours[index].hardness for index in judged] == [expected["hardness"][index] for index in judged]
    assert [index for index in judged if ours[index].exact != bool(expected["exact"][index])] == []
    assert [index for index in judged if ours[index].rejected is not None] == [
        index for index in expected["unparsable"] if index not in set(expected["unreliable"])
    ]
    for component, rows in expected["partial"].items():
        different = [index for index in judged if list(ours[index].partial[component]) != rows[index]]
        assert (component, different) == (component, [])


@pytest.mark.parametrize("name", REPORTS)
def test_the_official_output_is_reproduced_byte_for_byte(spider, run_qsql, name):
    inputs = ["--gold", spider / REPORTS[name], "--pred", spider / "predictions" / f"{name}.sql"]
    inputs += ["--db", spider / "databases", "--table", spider / "tables.json", "--etype", "all"]
    theirs = (spider / "official_stdout" / f"{name}.txt").read_bytes()
    command = [sys.executable, "-m", "qsql.official", *map(str, inputs)]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=PATIENCE).stdout == theirs
    count_table = f"{'':20} {'easy':20} "
    text = theirs.decode()
    assert run_qsql("eval", *inputs, "--format", "official").stdout == text[text.index(count_table) :]


def test_golds_are_right_on_every_variant(spider):
    golds, _, db_ids = columns(spider, "dev_1", "dev_gold.sql")
    assert all(verdict.execution for verdict in Scorer(spider / "suite").score(golds, golds, db_ids))


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_threads_and_caches_change_no_verdict(spider, tmp_path, threads):
    """From one scorer to the next results of golds come from files, and from one call to the next from memory."""
    names = ["dev_10", "c3", "dail_gpt4"]
    jobs = {name: columns(spider, name, "dev_gold.sql") for name in names}
    expected = {name: official(spider, name) for name in names}
    first = {}
    for _ in range(2):
        scorer = Scorer(spider / "suite", threads=threads, max_steps=100_000_000, cache_dir=tmp_path)
        for _ in range(2):
            for name in names:
                verdicts = scorer.score(*jobs[name], "exec")
                assert_equal(verdicts, expected[name][SUITE], set(expected[name]["unreliable"]))
                assert first.setdefault(name, list(map(repr, verdicts))) == list(map(repr, verdicts))
        assert scorer.cache_problem is None
