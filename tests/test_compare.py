"""Comparisons of runs: the statistics agree with reference implementations, and what cannot be compared is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scipy.stats import bootstrap
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from qsql import QsqlError, demo, records, results
from qsql.evaluate import Settings, evaluate
from qsql.report.breakdown import turns
from qsql.report.compare import compare, points, verdict_text, warnings
from qsql.report.run import read_run
from qsql.report.statistics import bootstrap_interval, mcnemar, paired

EXAMPLES = demo.FOLDER / "examples.json"


@pytest.fixture(scope="module")
def runs(demo_databases, tmp_path_factory):
    """Run directories of both sets of demo predictions, by name."""
    folder = tmp_path_factory.mktemp("compared")
    for name, predictions in demo.PREDICTIONS.items():
        evaluate(Settings(EXAMPLES, predictions, demo_databases, demo.TABLES), folder / name)
    return {name: folder / name for name in demo.PREDICTIONS}


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (5, 5), (10, 3), (137, 72), (0, 30), (400, 380)])
def test_mcnemar_is_that_of_statsmodels(won, lost):
    reference = reference_mcnemar([[100, lost], [won, 100]], exact=True).pvalue if won + lost else 1.0
    assert mcnemar(won, lost) == pytest.approx(float(reference), rel=1e-9)


@pytest.mark.parametrize(("won", "lost", "count"), [(137, 72, 1034), (10, 12, 248), (3, 0, 40), (60, 55, 200)])
def test_the_interval_is_that_of_scipy(won, lost, count):
    differences = np.repeat([1, -1, 0], [won, lost, count - won - lost])
    reference = bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1), batch=500
    ).confidence_interval
    found = bootstrap_interval(won, lost, count)
    # Two draws of 10,000 differ by a few steps of one example.
    assert np.abs(np.subtract(found, reference)).max() <= 3.5 / count
    assert bootstrap_interval(won, lost, count) == found


def test_examples_without_a_verdict_count_in_neither():
    found = paired([True, None, False, True, False], [True, True, True, None, False])
    assert (found.count, found.won, found.lost) == (3, 1, 0)
    assert (found.first, found.second) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    nothing = paired([None], [True])
    assert (nothing.count, nothing.difference, nothing.p_value) == (0, None, None)


def test_shares_are_those_of_the_summaries(runs):
    (comparison,) = compare([read_run(runs["strong"]), read_run(runs["weak"])])
    for level in (*records.LEVELS, "all"):
        for metric in ("exact", "execution"):
            found = comparison.levels[metric][level]
            shares = [results.read_json(runs[name] / "summary.json")[level][metric] for name in ("strong", "weak")]
            assert [found.first, found.second] == pytest.approx(shares)
            assert found.difference == pytest.approx(shares[1] - shares[0])


def test_won_and_lost_examples_are_those(runs):
    (comparison,) = compare([read_run(runs["weak"]), read_run(runs["strong"])])
    for metric in ("exact", "execution"):
        found = comparison.levels[metric]["all"]
        won, lost = (comparison.changed(metric, won=won) for won in (True, False))
        assert (len(won), len(lost)) == (found.won, found.lost)
        assert all((a.verdict[metric], b.verdict[metric]) == (False, True) for a, b in won)
        assert all((a.verdict[metric], b.verdict[metric]) == (True, False) for a, b in lost)
    assert "strong is better by 39.6 points" in verdict_text(comparison, "execution")


def test_a_run_does_not_differ_from_itself(run_qsql, runs):
    done = run_qsql("compare", runs["strong"], runs["strong"])
    assert done.returncode == 0
    assert "exact match: no difference, the same 48 verdicts" in done.stdout
    assert "execution: no difference, the same 48 verdicts" in done.stdout
    assert "won by B" not in done.stdout


def test_several_runs_are_compared_with_the_first(run_qsql, runs):
    done = run_qsql("compare", runs["strong"], runs["weak"], runs["strong"])
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    headers = [line for line in done.stdout.splitlines() if line.startswith("A ")]
    assert headers == ["A strong (1)   B weak", "A strong (1)   B strong (3)"]
    assert "hint" not in done.stdout


def test_one_run_is_wrong_usage(run_qsql, runs):
    assert run_qsql("compare", runs["strong"]).returncode == 2


def change_gold(run):
    lines = [json.loads(line) for line in (run / "examples.jsonl").read_text(encoding="utf-8").splitlines()]
    lines[3]["gold"] = "SELECT 1"
    (run / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def drop_gold(run):
    for name in ("examples.jsonl", "verdicts.jsonl"):
        lines = (run / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (run / name).write_text("".join(lines[:-1]), encoding="utf-8")
    summary = results.read_json(run / "summary.json")
    summary["all"]["count"] -= 1
    results.write_json(run / "summary.json", summary)


def change_record(*keys, value):
    def change(run):
        record = results.read_json(run / "run.json")
        place = record["evaluation"]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        results.write_json(run / "run.json", record)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_gold, r"their golds differ, first in example `3` \(.*on \w+\) and `3` \(`SELECT 1` on"),
        (drop_gold, "48 golds and 47"),
        (change_record("sha256", "suites", "seed_bank", value="0"), "database `seed_bank` or its variants differ"),
        (change_record("sha256", "tables", value=None), "their `tables.json` differ"),
        (change_record("settings", "keep_distinct", value=True), "`keep_distinct` is False in one and True"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(runs, tmp_path, change, reason):
    shutil.copytree(runs["strong"], tmp_path / "other")
    change(tmp_path / "other")
    with pytest.raises(QsqlError, match=reason) as error:
        compare([read_run(runs["strong"]), read_run(tmp_path / "other")])
    assert str(error.value).splitlines()[-1].startswith("hint: ")


def test_other_versions_and_limits_are_said(runs, tmp_path):
    shutil.copytree(runs["strong"], tmp_path / "other")
    change_record("versions", "sqlite", value="3.0")(tmp_path / "other")
    change_record("settings", "timeout", value=1.0)(tmp_path / "other")
    found = warnings([read_run(runs["strong"]), read_run(tmp_path / "other")])
    assert found[0] == "`timeout` differs: 1.0, 30.0"
    assert found[1].startswith("versions of sqlite differ: 3.0, 3.")


def test_turns_are_compared_with_a_warning(demo_databases, tmp_path):
    lines = demo.GOLD.read_text(encoding="utf-8").splitlines()[:3]
    (tmp_path / "gold.txt").write_text("\n".join([*lines[:2], "", lines[2]]), encoding="utf-8")
    queries = [line.split("\t")[0] for line in lines]
    (tmp_path / "pred.txt").write_text("\n".join([*queries[:2], "", queries[2]]), encoding="utf-8")
    evaluate(Settings(tmp_path / "gold.txt", tmp_path / "pred.txt", demo_databases), tmp_path / "turns")
    run = read_run(tmp_path / "turns")
    assert list(turns(run)) == ["turn 1", "turn 2"]
    assert warnings([run, run]) == [
        "turns of an interaction are compared as if each stood alone, so that intervals are too narrow"
    ]


def test_differences_have_signs():
    assert [points(value) for value in (0.1234, -0.1, 0.0, -0.0001, 0.1, None)] == [
        *("+12.3", "-10.0", "0.0", "0.0", "+10.0", "-")
    ]
