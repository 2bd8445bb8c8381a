"""Our verdicts against the official tool's, on real predictions: every difference fails.

Needs the environment variable QSQL_SPIDER_DIR, the folder with the official verdicts.
"""

from __future__ import annotations

import gzip
import json

import pytest

from qsql import Scorer
from qsql.data import read_examples, read_predictions

SINGLE, SUITE = "execution_single", "execution_suite"
SETS = [*(f"dev_{number}" for number in range(1, 12)), "dail_gpt4", "c3", "din_codex"]


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


def test_golds_are_right_on_every_variant(spider):
    golds, _, db_ids = columns(spider, "dev_1", "dev_gold.sql")
    assert all(verdict.execution for verdict in Scorer(spider / "suite").score(golds, golds, db_ids))
