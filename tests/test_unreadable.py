"""One database that cannot be read fails its own items: the rest is scored, it is said once, exit status 1."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3

import pytest

import qsql
from qsql import QsqlError, Scorer, demo
from qsql.evaluate import Settings, evaluate
from qsql.report.compare import compare
from qsql.report.explain import explain, explanation_text
from qsql.report.page import examples_data
from qsql.report.run import read_run
from qsql.rewards import ExecutionReward, compute_score_batched

BROKEN, WHOLE = "seed_bank", "night_log"
GOLDS = {BROKEN: "SELECT species_id FROM species", WHOLE: "SELECT astronomer_id FROM astronomers"}
JOURNAL = bytes([0xD9, 0xD5, 0x05, 0xF9, 0x20, 0xA1, 0x63, 0xD7])


def remove(file):
    file.unlink()


def remove_folder(file):
    shutil.rmtree(file.parent)


def fill_with_noise(file):
    file.write_bytes(os.urandom(file.stat().st_size))


def encrypt(file):
    # As SQLCipher leaves it: every byte but the salt is changed, the header included.
    file.write_bytes(bytes(byte ^ 0x5A for byte in file.read_bytes()))


def write_text(file):
    file.write_text("SELECT 1;\n" * 100, encoding="utf-8")


def make_folder(file):
    file.unlink()
    file.mkdir()


def dangle(file):
    file.unlink()
    file.symlink_to(file.parent / "elsewhere")


def leave_journal(file):
    file.with_name(f"{file.name}-journal").write_bytes(JOURNAL + bytes(504))


def leave_log(file):
    file.with_name(f"{file.name}-wal").write_bytes(bytes(32))


def break_schema(file):
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = 'CREATE TABLE' WHERE type = 'table'")
        connection.commit()


def cut_off(file):
    os.truncate(file, 50)


def pipe(file):
    file.unlink()
    os.mkfifo(file)


DAMAGES = [
    *(remove, remove_folder, fill_with_noise, encrypt, write_text, make_folder),
    *(dangle, leave_journal, leave_log, break_schema, cut_off, pipe),
]
damaged = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


@pytest.fixture
def databases(demo_databases, tmp_path):
    """A copy of the demo databases to be damaged."""
    return shutil.copytree(demo_databases, tmp_path / "databases")


def main_file(databases):
    return databases / BROKEN / f"{BROKEN}.sqlite"


@damaged
def test_a_scorer_fails_the_items_of_that_database_alone(databases, damage):
    damage(main_file(databases))
    scorer = Scorer(databases, threads=2)
    db_ids = [BROKEN, WHOLE, BROKEN, WHOLE, BROKEN]
    golds = [GOLDS[db_id] for db_id in db_ids]
    predictions = [golds[0], golds[1], None, "SELECT 0", "SELEC"]
    for etype in ("all", "exec", "match"):
        verdicts = scorer.score(golds, predictions, db_ids, etype)
        assert [verdict.state for verdict in verdicts[::2]] == ["gold_error"] * 3
        assert {(verdict.execution, verdict.exact) for verdict in verdicts[::2]} == {(None, None)}
        assert {verdict.failed_on for verdict in verdicts[::2]} == {f"{BROKEN}.sqlite"}
        assert all(verdict.detail.startswith("database: ") for verdict in verdicts[::2])
        assert all(verdict.state == "scored" for verdict in verdicts[1::2])
    assert [verdict.execution for verdict in scorer.score(golds, predictions, db_ids)[1::2]] == [True, False]
    with pytest.raises(QsqlError, match=rf"item 0 \(database `{BROKEN}`\) cannot be scored, database: "):
        scorer.execution(golds, predictions, db_ids)
    assert scorer.execution(golds[1:2], predictions[1:2], db_ids[1:2]).tolist() == [True]
    states = [found.state for found in scorer.denotations(golds, db_ids)]
    assert states == ["database_error", "ran", "database_error", "ran", "database_error"]
    assert "\nhint: " in scorer.database_problem(BROKEN)
    assert scorer.database_problem(WHOLE) is None


def test_a_database_that_is_mended_is_scored_by_the_same_scorer(databases, demo_databases):
    job = [GOLDS[BROKEN]], [GOLDS[BROKEN]], [BROKEN]
    scorer = Scorer(databases)
    fill_with_noise(main_file(databases))
    assert scorer.score(*job)[0].state == "gold_error"
    shutil.copy(demo_databases / BROKEN / f"{BROKEN}.sqlite", main_file(databases))
    assert scorer.score(*job)[0].execution is True


def test_what_is_no_database_name_is_an_error_still(databases):
    for name in ("", "..", f"../{BROKEN}", f"{BROKEN}/"):
        with pytest.raises(QsqlError, match="is not a database name\nhint: "):
            Scorer(databases).score(["SELECT 1"], ["SELECT 1"], [name])
        with pytest.raises(QsqlError, match="is not a database name\nhint: "):
            Scorer(databases).database_problem(name)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_missing_permission_fails_the_items_of_that_database(databases, is_folder):
    victim = main_file(databases).parent if is_folder else main_file(databases)
    victim.chmod(0)
    try:
        verdicts = Scorer(databases).score(list(GOLDS.values()), list(GOLDS.values()), list(GOLDS))
    finally:
        victim.chmod(0o700)
    assert [verdict.state for verdict in verdicts] == ["gold_error", "scored"]


@damaged
def test_an_evaluation_and_its_page_have_the_rest(databases, damage, tmp_path):
    damage(main_file(databases))
    settings = Settings(demo.GOLD, demo.PREDICTIONS["strong"], databases, demo.TABLES)
    for _ in range(2):
        found = evaluate(settings, tmp_path / "run")
        assert list(found.unreadable) == [BROKEN]
        assert not found.is_whole
        assert [example.db_id for example, _ in found.gold_errors] == [BROKEN] * 12
        assert found.summary["all"]["states"]["gold_error"] == 12
    run = read_run(tmp_path / "run")
    data, problems = examples_data([run])
    assert len(problems) == 1
    assert f"`{BROKEN}`" in problems[0]
    assert len(data["items"]) == 48
    assert compare([run, run])[0].levels["execution"]["all"].count == 36


@pytest.mark.parametrize("damage", [remove, fill_with_noise, leave_journal])
def test_eval_scores_the_rest_and_says_it_once(databases, damage, run_qsql, tmp_path):
    damage(main_file(databases))
    out = tmp_path / "run"
    inputs = ["--gold", demo.GOLD, "--pred", demo.PREDICTIONS["strong"], "--db", databases, "--table", demo.TABLES]
    done = run_qsql("eval", *inputs, "--out", out)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == done.stderr.count("hint: ") == 1
    assert f"12 items of `{BROKEN}` cannot be scored" in done.stderr
    assert "warning" not in done.stderr
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["all"]["count"], summary["all"]["states"]["gold_error"]) == (48, 12)
    lines = [json.loads(line) for line in (out / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["state"] for line in lines if line["db_id"] == BROKEN} == {"gold_error"}
    assert all(line["execution"] is not None for line in lines if line["db_id"] != BROKEN)
    assert run_qsql("eval", *inputs, "--out", out).returncode == 1
    # Everything that reads the run goes on too.
    done = run_qsql("report", out)
    assert (done.returncode, done.stderr) == (0, "")
    done = run_qsql("report", out, "--html", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"`{BROKEN}`") == 1
    done = run_qsql("compare", out, out, "--html", tmp_path / "comparison.html")
    assert done.returncode == 0, done.stderr


def test_a_variant_that_cannot_be_read_is_told_once(databases, run_qsql):
    cut_off(databases / BROKEN / f"{BROKEN}v1.sqlite")
    inputs = ["--gold", demo.GOLD, "--pred", demo.GOLD, "--db", databases]
    golds = [line.split("\t")[0] for line in demo.GOLD.read_text(encoding="utf-8").splitlines() if line]
    pred = databases / "pred.sql"
    pred.write_text("\n".join(golds), encoding="utf-8")
    inputs[3] = pred
    done = run_qsql("eval", *inputs)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert f"cannot read database `{BROKEN}v1.sqlite` of `{BROKEN}`: database disk image is malformed" in done.stderr


def test_a_database_that_goes_while_others_are_scored_is_told_once(databases):
    gone = main_file(databases)

    def remove_it(*_):
        if gone.exists():
            gone.unlink()

    golds = [*[GOLDS[WHOLE]] * 2, *[GOLDS[BROKEN]] * 2]
    db_ids = [WHOLE, WHOLE, BROKEN, BROKEN]
    scorer = Scorer(databases, threads=1)
    assert scorer.databases(BROKEN)[0] == gone
    remove_it()
    verdicts = scorer.score(golds, golds, db_ids)
    assert [verdict.state for verdict in verdicts] == ["scored", "scored", "gold_error", "gold_error"]
    assert {verdict.detail.partition(":")[0] for verdict in verdicts[2:]} == {"database"}


def test_if_no_database_can_be_read_nothing_is_scored(tmp_path, run_qsql):
    (tmp_path / "databases").mkdir()
    inputs = ["--gold", demo.GOLD, "--pred", demo.PREDICTIONS["strong"], "--db", tmp_path / "databases"]
    done = run_qsql("eval", *inputs, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: `{demo.GOLD}` line 1: database `")
    assert done.stderr.count("error: ") == 1
    assert not (tmp_path / "run").exists()


@pytest.fixture
def tables(tmp_path):
    """`tables.json` without one of the databases."""
    entries = json.loads(demo.TABLES.read_text(encoding="utf-8"))
    path = tmp_path / "tables.json"
    path.write_text(json.dumps([entry for entry in entries if entry["db_id"] != BROKEN]), encoding="utf-8")
    return path


def test_a_database_that_tables_json_lacks_is_executed_and_not_matched(databases, tables, run_qsql):
    inputs = ["--gold", demo.GOLD, "--pred", demo.PREDICTIONS["strong"], "--db", databases, "--table", tables]
    done = run_qsql("eval", *inputs, "--format", "json")
    assert done.returncode == 1
    assert done.stderr.count("error: ") == done.stderr.count("hint: ") == 1
    assert f"database `{BROKEN}` is not listed; 12 items of `{BROKEN}` cannot be matched exactly" in done.stderr
    summary = json.loads(done.stdout)["all"]
    assert (summary["states"]["gold_error"], round(48 * summary["execution"])) == (0, 41)
    assert run_qsql("eval", *inputs, "--etype", "exec").returncode == 0


def test_explain_tells_why_a_pair_cannot_be_judged(databases):
    fill_with_noise(main_file(databases))
    found = explain(GOLDS[BROKEN], "SELECT 1", main_file(databases))
    assert (found.verdict.state, found.results) == ("gold_error", None)
    assert explanation_text(found) is not None
    damaged = databases / BROKEN / f"{BROKEN}v1.sqlite"
    shutil.copy(databases / BROKEN / f"{BROKEN}v2.sqlite", main_file(databases))
    cut_off(damaged)
    found = explain(GOLDS[BROKEN], GOLDS[BROKEN], damaged.parent)
    assert (found.verdict.state, found.verdict.failed_on) == ("gold_error", damaged.name)


def test_explain_prints_the_reason(databases, run_qsql):
    write_text(main_file(databases))
    done = run_qsql("explain", "--gold", GOLDS[BROKEN], "--pred", "SELECT 1", "--db", main_file(databases))
    assert done.returncode == 0, done.stderr
    assert "gold_error: database: file is not a database" in " ".join(done.stdout.split())


def test_one_pair_on_a_file_that_is_no_database(databases):
    write_text(main_file(databases))
    verdict = qsql.score("SELECT 1", "SELECT 1", main_file(databases))
    assert (verdict.execution, verdict.state, verdict.failed_on) == (None, "gold_error", f"{BROKEN}.sqlite")
    with pytest.raises(QsqlError, match="cannot read"):
        qsql.score("SELECT 1", "SELECT 1", databases / "nothing.sqlite")


def test_a_database_that_breaks_behind_a_run_leaves_the_rest_of_its_page(databases, tmp_path):
    for name in ("strong", "weak"):
        evaluate(Settings(demo.GOLD, demo.PREDICTIONS[name], databases, demo.TABLES), tmp_path / name)
    runs = [read_run(tmp_path / name) for name in ("strong", "weak")]
    before, problems = examples_data(runs)
    assert problems == []
    fill_with_noise(main_file(databases))
    after, problems = examples_data(runs)
    assert len(problems) == 2
    assert all(f"`{BROKEN}`" in problem for problem in problems)
    place = after["databases"].index(BROKEN)
    assert None not in before["schemas"]
    assert [at for at, schema in enumerate(after["schemas"]) if schema is None] == [place]
    for was, now in zip(before["items"], after["items"], strict=True):
        assert now["db"] == place or now == was
        assert now["db"] != place or not any("results" in answer for answer in now["answers"])
    assert len(compare(runs)) == 1


def test_a_variant_that_goes_behind_a_run_leaves_the_verdict(databases, tmp_path):
    evaluate(Settings(demo.GOLD, demo.PREDICTIONS["weak"], databases, demo.TABLES), tmp_path / "run")
    run = read_run(tmp_path / "run")
    (item,) = [item for item in run.items if item.verdict["state"] == "scored" and item.verdict["execution"] is False][
        :1
    ]
    run.database(item.db_id, item.verdict["failed_on"]).unlink()
    shutil.copy(databases / WHOLE / f"{WHOLE}.sqlite", run.database(item.db_id))
    data, _ = examples_data([run])
    answer = data["items"][run.items.index(item)]["answers"][0]
    assert answer["execution"] is False
    assert "results" in answer or "its results are not shown: cannot read" in answer["detail"]


@damaged
def test_rewards_give_none_to_that_database_alone(databases, damage, caplog):
    damage(main_file(databases))
    reward = ExecutionReward(databases)
    db_ids = [BROKEN, BROKEN, WHOLE, WHOLE]
    golds = [GOLDS[db_id] for db_id in db_ids]
    for _ in range(2):
        found = reward(None, [golds[0], "I do not know.", golds[2], "SELECT 0"], query=golds, db_id=db_ids)
        assert found == [None, None, 1.0, 0.0]
    assert [outcome.state for outcome in reward.latest[:2]] == ["gold_error"] * 2
    (message,) = [record.getMessage() for record in caplog.records]
    assert f"cannot read database `{BROKEN}.sqlite` of `{BROKEN}`: " in message
    # Also where it is the only one of a step.
    assert reward(None, ["SELECT 1"], query=golds[:1], db_id=[BROKEN]) == [None]
    scores = compute_score_batched(
        [""] * 2, [golds[0], golds[2]], [golds[0], golds[2]],
        [{"db_id": BROKEN}, {"db_id": WHOLE}], database_dir=str(databases),
    )  # fmt: skip
    assert [found["score"] for found in scores] == [0.0, 1.0]
    with pytest.raises(QsqlError, match=f"cannot read database `{BROKEN}"):
        ExecutionReward(databases, gold_error="raise")(None, ["SELECT 1"], query=golds[:1], db_id=[BROKEN])
