"""Verdicts on cases that were designed one by one, each for one rule of the official tool (taoyds/test-suite-sql-eval).

`execution` in `golden/execution.jsonl` is what the official tool says (Python 3.11, SQLite 3.40.1, sqlparse 0.6.1).
Where `official` is false, it hangs, crashes, or lets the prediction do what ours refuses; then ours is as designed.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from qsql import Scorer

# Split at line feeds only: some of the queries hold other characters at which `splitlines` breaks.
LINES = (Path(__file__).parent / "golden" / "execution.jsonl").read_text(encoding="utf-8").split("\n")
CASES = [json.loads(line) for line in LINES if line]
RULES = sorted({case["rule"] for case in CASES})

# A gold that fails allows no verdict at all.
NEVER_JUDGED = {"gold-errors"}


@pytest.fixture(scope="module")
def verdicts(demo_databases):
    """The verdict of every case by its id."""
    found = {}
    for keep_distinct in (False, True):
        cases = [case for case in CASES if case["keep_distinct"] is keep_distinct]
        golds, predictions, db_ids = ([case[key] for case in cases] for key in ("gold", "prediction", "db_id"))
        scored = Scorer(demo_databases, keep_distinct=keep_distinct).score(golds, predictions, db_ids)
        found.update((case["id"], verdict) for case, verdict in zip(cases, scored, strict=True))
    return found


@pytest.mark.parametrize("rule", RULES)
def test_verdicts_are_as_frozen(rule, verdicts):
    differences = []
    for case in CASES:
        verdict = verdicts[case["id"]]
        ours, frozen = (verdict.execution, verdict.state), (case["execution"], case["state"])
        if case["rule"] == rule and ours != frozen:
            judge = "official" if case["official"] else "by design"
            differences.append(
                f"{case['id']}: {ours} ({verdict.detail}) instead of {frozen} ({judge}). {case['why']}\n"
                f"    gold:       {case['gold'][:200]!r}\n"
                f"    prediction: {case['prediction'][:200]!r}"
            )
    assert not differences, "\n".join(differences)


def test_there_are_enough_cases_and_each_has_its_own_id():
    assert len(CASES) >= 300
    assert [name for name, count in Counter(case["id"] for case in CASES).items() if count > 1] == []


def test_no_case_is_there_twice():
    inputs = Counter((case["db_id"], case["gold"], case["prediction"], case["keep_distinct"]) for case in CASES)
    assert [texts for texts, count in inputs.items() if count > 1] == []


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_cases_both_ways(rule):
    verdicts = {case["execution"] for case in CASES if case["rule"] == rule}
    assert verdicts == ({None} if rule in NEVER_JUDGED else {True, False})


def test_states_fit_their_verdicts():
    for case in CASES:
        if case["state"] == "gold_error":
            assert case["execution"] is None, case["id"]
        elif case["state"] != "scored":
            assert case["execution"] is False, case["id"]
