"""Results of golds that are kept: in memory and in a folder, with the same verdicts as without."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from contextlib import ExitStack

import pytest
from processes import started

from qsql import Scorer, demo
from qsql.data import read_examples, read_predictions

GOLD = "SELECT species_id FROM species"


@pytest.fixture(scope="module")
def jobs():
    """Golds, predictions and database names of the demo."""
    examples = read_examples(demo.GOLD)
    golds, db_ids = [example.query for example in examples] * 2, [example.db_id for example in examples] * 2
    predictions = [
        text for name in ("strong", "weak") for text in read_predictions(demo.PREDICTIONS[name], examples).predictions
    ]
    return golds, predictions, db_ids


def summaries(verdicts):
    return [(verdict.execution, verdict.state, verdict.failed_on, verdict.detail) for verdict in verdicts]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_verdicts_are_the_same_with_every_cache_on_and_off(demo_databases, jobs, tmp_path, threads):
    plain = [
        summaries(Scorer(demo_databases).score([gold], [text], [db_id], "exec"))[0]
        for gold, text, db_id in zip(*jobs, strict=True)
    ]
    for _ in range(2):
        scorer = Scorer(demo_databases, threads=threads, cache_dir=tmp_path)
        for _ in range(2):
            assert summaries(scorer.score(*jobs, "exec")) == plain
        assert scorer.cache_problem is None


def test_golds_run_once(demo_databases, jobs, tmp_path):
    cold = Scorer(demo_databases, threads=1, cache_dir=tmp_path)
    cold.score(*jobs, "exec")
    first = cold.executions
    cold.score(*jobs, "exec")
    warm = cold.executions - first
    assert warm < first
    later = Scorer(demo_databases, threads=1, cache_dir=tmp_path)
    later.score(*jobs, "exec")
    assert later.executions == warm
    without = Scorer(demo_databases, threads=1)
    without.score(*jobs, "exec")
    assert without.executions == first


def test_other_content_or_limits_are_other_results(demo_databases, tmp_path):
    databases, cache = tmp_path / "databases", tmp_path / "cache"
    shutil.copytree(demo_databases, databases)
    for variant in (databases / "seed_bank").glob("*.sqlite"):
        if variant.name != "seed_bank.sqlite":
            variant.unlink()
    before = Scorer(databases, cache_dir=cache)
    assert before.execution([GOLD], [f"{GOLD} WHERE 1"], ["seed_bank"]).tolist() == [True]
    frozen = Scorer(databases, cache_dir=cache).score([GOLD], [f"{GOLD} LIMIT 1"], ["seed_bank"], "exec")[0].detail
    with sqlite3.connect(databases / "seed_bank" / "seed_bank.sqlite") as connection:
        connection.execute("DELETE FROM species")
    connection.close()
    # In this process and in the next.
    for scorer in (before, Scorer(databases, cache_dir=cache)):
        (verdict,) = scorer.score([GOLD], ["SELECT 1"], ["seed_bank"], "exec")
        assert verdict.detail != frozen
        assert verdict.detail == "more than 0 rows, which the gold has"
    # Nor does a result that is known help a gold beyond its limits.
    job = ["SELECT count(*) FROM collectors AS a, collectors AS b, collectors AS c"], ["SELECT 1"], ["seed_bank"]
    assert before.score(*job)[0].state == "scored"
    (verdict,) = Scorer(databases, cache_dir=cache, max_steps=1).score(*job)
    assert verdict.state == "gold_error"


def test_golds_of_chance_and_time_are_not_kept(demo_databases, tmp_path):
    golds = ["SELECT random()", "SELECT datetime('now')", "SELECT CURRENT_TIME", "SELECT hex(RandomBlob(4))"]
    scorer = Scorer(demo_databases, cache_dir=tmp_path)
    for _ in range(2):
        before = scorer.executions
        scorer.score(golds, ["SELECT 1"] * 4, ["night_log"] * 4, "exec")
        assert scorer.executions - before >= 8
    assert files(tmp_path) == []


def test_processes_share_a_folder(demo_databases, jobs, tmp_path):
    """Writers at once, one of which is killed, leave what the others can read."""
    code = (
        "import json, sys; from qsql import Scorer; jobs = json.load(open(sys.argv[2]))\n"
        "while True: Scorer(sys.argv[1], cache_dir=sys.argv[3]).score(*jobs, 'exec'); print(flush=True)"
    )
    (tmp_path / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", code, str(demo_databases), str(tmp_path / "jobs.json"), str(cache)]
    with ExitStack() as stack:
        writers = [stack.enter_context(started(command)) for _ in range(3)]
        for writer in writers:
            assert writer.stdout.readline() == "\n"
            writer.kill()
    scorer = Scorer(demo_databases, cache_dir=cache)
    plain = Scorer(demo_databases)
    assert summaries(scorer.score(*jobs, "exec")) == summaries(plain.score(*jobs, "exec"))
    assert scorer.executions < plain.executions


def test_a_folder_that_cannot_be_used_is_told_and_changes_nothing(demo_databases, jobs, tmp_path, run_qsql):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    scorer = Scorer(demo_databases, cache_dir=tmp_path / "file")
    assert summaries(scorer.score(*jobs, "exec")) == summaries(Scorer(demo_databases).score(*jobs, "exec"))
    assert str(tmp_path / "file") in scorer.cache_problem
    command = ["eval", "--gold", demo.GOLD, "--pred", demo.PREDICTIONS["weak"], "--db", demo_databases]
    done = run_qsql(*command, env={"QSQL_CACHE_DIR": str(tmp_path / "file")})
    assert done.returncode == 0
    assert "warning: cannot keep results of golds in" in done.stderr
    assert run_qsql(*command, "--no-cache", env={"QSQL_CACHE_DIR": str(tmp_path / "file")}).stderr == ""


def test_the_command_line_keeps_results_unless_told_not_to(demo_databases, tmp_path, run_qsql):
    command = [
        "eval",
        "--gold",
        demo.GOLD,
        "--pred",
        demo.PREDICTIONS["weak"],
        "--db",
        demo_databases,
        "--format",
        "json",
        "--threads",
        "1",
    ]
    environment = {"QSQL_CACHE_DIR": str(tmp_path / "cache")}
    without = json.loads(run_qsql(*command, "--no-cache", env=environment).stdout)
    assert not (tmp_path / "cache").exists()
    runs = [json.loads(run_qsql(*command, env=environment).stdout) for _ in range(2)]
    assert runs[0]["executions"] == without["executions"]
    assert runs[1]["executions"] < without["executions"]
    assert {json.dumps(run["all"]) for run in runs} == {json.dumps(without["all"])}
