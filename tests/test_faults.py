"""Faults of the machine: databases that vanish, change or are broken while they are used, and disks that are full.

A run either ends with the items marked that are affected, or stops with an error and goes on by the same command;
verdicts that were finished are never lost. That a run that was killed goes on is in `test_cli.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import qsql
from qsql import QsqlError, Scorer, demo, results
from qsql.rewards import ExecutionReward

SLOW = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT {limit}) SELECT count(*) FROM r"
GOLD = "SELECT species_id FROM species"
VARIANTS = ["seed_bank.sqlite", "seed_bankv0.sqlite", "seed_bankv1.sqlite", "seed_bankv2.sqlite"]


@pytest.fixture
def databases(demo_databases, tmp_path):
    """Demo databases of one's own."""
    return shutil.copytree(demo_databases, tmp_path / "databases")


def score_while(databases, fault, predictions, gold=GOLD):
    """Score predictions, and let the fault happen when some are done."""
    scorer = Scorer(databases, threads=1, timeout=FOREVER)
    happened = threading.Event()

    def progress(done, total):
        if done and done < total and not happened.is_set():
            fault()
            happened.set()

    # Each gold has a text of its own: what has one text is settled at once.
    golds = [f"{gold} -- {number}" for number in range(len(predictions))]
    verdicts = scorer.score(golds, predictions, ["seed_bank"] * len(predictions), progress=progress)
    assert happened.is_set()
    return scorer, verdicts


# Right everywhere, and slow enough for a fault to come in between.
FOREVER = 3600
LIMITS = range(1_000_000, 1_000_010)
PREDICTIONS = [f"{GOLD} WHERE {limit} = ({SLOW.format(limit=limit)})" for limit in LIMITS]


def test_a_variant_that_is_deleted_marks_its_items(databases):
    gone = databases / "seed_bank" / VARIANTS[3]
    scorer, verdicts = score_while(databases, gone.unlink, PREDICTIONS)
    assert {(verdict.state, verdict.execution) for verdict in verdicts} == {("gold_error", None)}
    assert {verdict.failed_on for verdict in verdicts} == {VARIANTS[3]}
    assert "No such file" in verdicts[0].detail
    # What an earlier variant rejects stays rejected, and other databases are not affected.
    rejected, other = scorer.score([GOLD, "SELECT 1"], [f"{GOLD} LIMIT 1", "SELECT 1"], ["seed_bank", "night_log"])
    assert (rejected.execution, rejected.failed_on) == (False, VARIANTS[0])
    assert other.execution is True


def test_a_variant_that_was_deleted_comes_back(databases):
    gone = databases / "seed_bank" / VARIANTS[2]
    content = gone.read_bytes()
    scorer, verdicts = score_while(databases, gone.unlink, PREDICTIONS)
    assert {verdict.execution for verdict in verdicts} == {None}
    gone.write_bytes(content)
    (verdict,) = scorer.score([GOLD], [f"{GOLD} WHERE 1"], ["seed_bank"])
    assert verdict.execution is True


@pytest.mark.parametrize("size", [0, 100, 4096, 10_000])
def test_a_variant_that_is_cut_off_marks_its_items(databases, size):
    victim = databases / "seed_bank" / VARIANTS[0]
    _, verdicts = score_while(databases, lambda: os.truncate(victim, size), PREDICTIONS)
    assert {(verdict.state, verdict.execution) for verdict in verdicts} == {("gold_error", None)}
    assert {verdict.failed_on for verdict in verdicts} == {VARIANTS[0]}
    assert {verdict.detail for verdict in verdicts} == {"database: the file changed while it was in use"}


def test_a_variant_that_is_overwritten_marks_its_items(databases):
    victim = databases / "seed_bank" / VARIANTS[0]
    noise = os.urandom(victim.stat().st_size)

    def overwrite():
        with victim.open("r+b") as file:
            file.write(noise)

    _, verdicts = score_while(databases, overwrite, PREDICTIONS)
    assert {(verdict.state, verdict.execution) for verdict in verdicts} == {("gold_error", None)}
    assert {verdict.detail for verdict in verdicts} == {"database: the file changed while it was in use"}


def test_a_variant_that_is_replaced_between_calls_is_read_anew(databases):
    scorer = Scorer(databases)
    folder = databases / "seed_bank"
    count = "SELECT count(*) FROM species"
    before = [scorer.score([count], [f"SELECT {number}"], ["seed_bank"])[0].execution for number in range(60)]
    for variant in VARIANTS:
        shutil.copy(folder / VARIANTS[1], folder / "new")
        (folder / "new").replace(folder / variant)
    after = [scorer.score([count], [f"SELECT {number}"], ["seed_bank"])[0].execution for number in range(60)]
    assert before.count(True) == 0
    assert after.count(True) == 1


def hidden_in_place(path, change):
    """Change a file in place and hide it: same size, same time of modification."""
    before = path.stat()
    content = path.read_bytes()
    changed = change(content)
    assert len(changed) == len(content)
    assert changed != content
    with path.open("r+b") as file:
        file.write(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def hidden_by_name(path, change):
    """Put another file under the name of one: same size, same time of modification."""
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(change(path.read_bytes()))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.fixture
def shop(tmp_path):
    """Folder with a database `shop` of two variants, which call something red and blue."""
    (tmp_path / "shops" / "shop").mkdir(parents=True)
    for name in ("shop", "shopv0"):
        connection = sqlite3.connect(tmp_path / "shops" / "shop" / f"{name}.sqlite")
        connection.execute("CREATE TABLE t (colour TEXT)")
        connection.executemany("INSERT INTO t VALUES (?)", [("red",), ("blue",)])
        connection.commit()
        connection.close()
    return tmp_path / "shops"


RED = "SELECT count(*) FROM t WHERE colour = 'red'"


def repaint(content):
    return content.replace(b"red", b"pen")


@pytest.mark.skipif(sys.platform == "win32", reason="a file there has no time that programs cannot set")
@pytest.mark.parametrize("hide", [hidden_in_place, hidden_by_name])
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("variant", ["shop", "shopv0"])
def test_a_file_that_is_replaced_unseen_is_read_anew(shop, tmp_path, hide, cached, variant):
    """By a scorer that is kept, whether it holds the file in memory or not, and by a cache on disk."""
    settings = {"cache_dir": tmp_path / "cache"} if cached else {}
    kept, other = Scorer(shop, **settings), Scorer(shop, **settings)
    reward = ExecutionReward(shop)

    def found():
        answers = [
            scorer.execution([RED], ["SELECT 1"], ["shop"]).tolist() for scorer in (kept, Scorer(shop, **settings))
        ]
        outcomes = reward.judge(["```sql\nSELECT 1\n```"], [RED], ["shop"])
        return [*answers, [outcome.reward == 1.0 for outcome in outcomes]]

    # The second time, it is held in memory.
    assert found() == found() == [[True]] * 3
    before = kept.denotations([RED], ["shop"])[0].digest
    assert other.execution([RED], ["SELECT 1"], ["shop"]).tolist() == [True]
    for _ in range(2):
        hide(shop / "shop" / f"{variant}.sqlite", repaint)
        assert found() == [[False]] * 3
        assert other.execution([RED], ["SELECT 1"], ["shop"]).tolist() == [False]
        assert (kept.denotations([RED], ["shop"])[0].digest == before) is (variant != "shop")
        hide(shop / "shop" / f"{variant}.sqlite", lambda content: content.replace(b"pen", b"red"))
        assert found() == [[True]] * 3
        assert other.execution([RED], ["SELECT 1"], ["shop"]).tolist() == [True]


def test_a_schema_that_is_replaced_is_read_anew(shop):
    """Exact match and canonical forms take the schema from the file."""
    scorer = Scorer(shop)
    assert scorer.score(["SELECT colour FROM t"], ["SELECT colour FROM t"], ["shop"], "match")[0].exact is True
    for path in (shop / "shop").glob("*.sqlite"):
        connection = sqlite3.connect(path)
        connection.executescript("ALTER TABLE t RENAME TO u")
        connection.close()
    (old,) = scorer.score(["SELECT colour FROM t"], ["SELECT colour FROM t"], ["shop"], "match")
    assert old.gold_rejected is not None
    (new,) = scorer.score(["SELECT colour FROM u"], ["select colour from u"], ["shop"])
    assert (new.exact, new.execution) == (True, True)


@pytest.mark.parametrize("variant", ["shop", "shopv0"])
def test_a_log_that_appears_later_is_seen(shop, variant):
    scorer, reward = Scorer(shop), ExecutionReward(shop)
    completion = ["```sql\nSELECT 1\n```"]
    path = shop / "shop" / f"{variant}.sqlite"

    def cannot_be_read(reason):
        (verdict,) = scorer.score([RED], ["SELECT 1"], ["shop"])
        assert (verdict.execution, verdict.state) == (None, "gold_error")
        assert reason in verdict.detail
        (denotation,) = scorer.denotations([RED], ["shop"])
        assert denotation.state == "database_error"
        assert [outcome.reward for outcome in reward.judge(completion, [RED], ["shop"])] == [None]

    assert scorer.execution([RED], ["SELECT 1"], ["shop"]).tolist() == [True]
    assert [outcome.reward for outcome in reward.judge(completion, [RED], ["shop"])] == [1.0]
    writer = sqlite3.connect(path, isolation_level=None)
    assert writer.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("DELETE FROM t")
    cannot_be_read(f"{variant}.sqlite-wal` holds changes")
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert scorer.execution([RED], ["SELECT 1"], ["shop"]).tolist() == [False]
    writer.execute("PRAGMA journal_mode = DELETE")
    writer.execute("BEGIN")
    writer.execute("INSERT INTO t VALUES ('red')")
    # What a writer that died would leave: a journal with the pages to be put back.
    journal = path.with_name(f"{path.name}-journal")
    header = bytes.fromhex("d9d505f920a163d7")
    writer.execute("ROLLBACK")
    journal.write_bytes(header + bytes(504))
    cannot_be_read(f"{variant}.sqlite-journal` is of a transaction")
    journal.unlink()
    assert scorer.execution([RED], ["SELECT 1"], ["shop"]).tolist() == [False]
    writer.close()


def test_variants_that_come_and_go_are_seen(shop):
    scorer, reward = Scorer(shop), ExecutionReward(shop)
    completion = ["```sql\nSELECT 1\n```"]

    def found():
        (verdict,) = scorer.score([RED], ["SELECT 1"], ["shop"], "exec")
        (outcome,) = reward.judge(completion, [RED], ["shop"])
        assert outcome.reward == float(verdict.execution)
        return verdict.execution, verdict.databases, len(scorer.databases("shop"))

    assert found() == (True, 2, 2)
    third = shop / "shop" / "shopv1.sqlite"
    third.write_bytes(repaint((shop / "shop" / "shop.sqlite").read_bytes()))
    assert found() == (False, 3, 3)
    third.write_bytes(b"no database any more")
    assert found() == (True, 2, 2)
    assert [(Path(path).name, reason) for path, reason in scorer.left_out("shop")] == [
        (third.name, "no SQLite database")
    ]
    third.unlink()
    assert found() == (True, 2, 2)
    (shop / "shop" / "shopv0.sqlite").unlink()
    assert found() == (True, 1, 1)
    shutil.rmtree(shop / "shop")
    (verdict,) = scorer.score([RED], ["SELECT 1"], ["shop"], "exec")
    assert verdict.state == "gold_error"
    assert "shop.sqlite" in verdict.detail


@pytest.mark.parametrize("damage", ["noise", "header", "pages", "empty", "folder"])
def test_one_broken_database_among_good_ones(databases, damage):
    victim = databases / "seed_bank" / VARIANTS[1]
    content = victim.read_bytes()
    victim.unlink()
    if damage == "folder":
        victim.mkdir()
    else:
        broken = {
            "noise": os.urandom(len(content)),
            "header": content[:16] + bytes(84) + content[100:],
            "pages": content[:4096] + b"\xff" * (len(content) - 4096),
            "empty": b"",
        }
        victim.write_bytes(broken[damage])
    golds = [GOLD, GOLD, "SELECT count(*) FROM astronomers"]
    predictions = [f"{GOLD} WHERE 1", f"{GOLD} LIMIT 1", "SELECT count(*) FROM astronomers WHERE 1"]
    scorer = Scorer(databases, threads=2)
    verdicts = scorer.score(golds, predictions, ["seed_bank", "seed_bank", "night_log"])
    # What is no database is no variant; one that is damaged or empty is.
    reasons = {"folder": "no file", "noise": "no SQLite database", "header": "no SQLite database"}
    expected = (True, None) if damage in reasons else (None, VARIANTS[1])
    assert (verdicts[0].execution, verdicts[0].failed_on) == expected
    assert (verdicts[1].execution, verdicts[1].failed_on) == (False, VARIANTS[0])
    assert verdicts[2].execution is True
    left_out = [(victim, reasons[damage])] if damage in reasons else []
    assert [(Path(path), reason) for path, reason in scorer.left_out("seed_bank")] == left_out


OTHERS = [".DS_Store", "._shop.sqlite", ".hidden.sqlite", "Thumbs.db", "desktop.ini", "shop.sqlite~", "notes.sqlite"]


def test_files_that_are_no_variants_are_said_once(shop, run_qsql, tmp_path, caplog):
    for name in OTHERS:
        (shop / "shop" / name).write_bytes(b"\0\5\x16\7 no database")
    (tmp_path / "gold.sql").write_text(f"{RED}\tshop\nSELECT count(*) FROM t\tshop\n", encoding="utf-8")
    (tmp_path / "pred.sql").write_text("SELECT 1\nSELECT 2\n", encoding="utf-8")
    inputs = ["--gold", tmp_path / "gold.sql", "--pred", tmp_path / "pred.sql", "--db", shop]
    done = run_qsql("eval", *inputs, "--format", "json")
    assert done.returncode == 0
    summary = json.loads(done.stdout)
    assert (summary["all"]["execution"], summary["databases"]) == (1.0, 2)
    for name in OTHERS:
        assert done.stderr.count(f"`{Path('shop', name)}`") == 1, name
    assert done.stderr.count("\n") == 3
    assert "1 file beside databases (`shop/notes.sqlite`), no SQLite database: no variants, left out" in done.stderr
    verdict = qsql.score(RED, "SELECT 1", shop / "shop")
    assert (verdict.execution, verdict.databases) == (True, 2)
    explained = run_qsql("explain", "--db", shop / "shop", "--gold", RED, "--pred", "SELECT 2")
    assert explained.returncode == 0, explained.stderr
    assert "notes.sqlite" not in explained.stdout
    reward = ExecutionReward(shop)
    for _ in range(3):
        (outcome,) = reward.judge(["```sql\nSELECT 1\n```"], [RED], ["shop"])
        assert outcome.reward == 1.0
    assert sorted(Path(record.args[0]).name for record in caplog.records) == sorted(OTHERS)


@pytest.fixture
def evaluate(run_qsql, demo_databases):
    """Run `qsql eval` on the demo's golds and predictions."""

    def run(out, **options):
        command = ["--gold", demo.GOLD, "--pred", demo.PREDICTIONS["weak"], "--db", demo_databases, "--out", out]
        return run_qsql("eval", *command, **options)

    return run


def lines(directory):
    return (directory / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_named_and_nothing_finished_is_lost(tmp_path, monkeypatch):
    verdicts = [{"index": index} for index in range(3)]
    with results.VerdictFile(tmp_path, verdicts):
        pass
    before = (tmp_path / results.PARTIAL).read_bytes()
    # Neither by what is appended nor by what is written anew, while all files lie on a full disk.
    full = results.VerdictFile(tmp_path, verdicts)
    with Path("/dev/full").open("w", encoding="utf-8") as device, full:
        full._file.close()  # noqa: SLF001
        monkeypatch.setattr(full, "_file", device)
        with pytest.raises(QsqlError, match=r"cannot write .*partial`: No space left on device"):
            full.append([{"index": 3}] * 1000)
    assert (tmp_path / results.PARTIAL).read_bytes() == before
    monkeypatch.setattr(Path, "open", lambda *_, **__: open("/dev/full", "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    with pytest.raises(QsqlError, match=r"cannot write .*partial`: No space left on device"):
        results.VerdictFile(tmp_path, verdicts * 1000)
    monkeypatch.undo()
    assert (tmp_path / results.PARTIAL).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [results.PARTIAL]


@pytest.fixture
def small_disk(tmp_path):
    """Folder on a disk of 96 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("left", [0, 1000, 5000, 9000, 14_000, 28_000, 40_000])
def test_a_disk_that_fills_up_loses_nothing_that_was_written(evaluate, small_disk, left):
    out = small_disk / "run"
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        for _ in range(1000):
            file.write(bytes(1024))
            file.flush()
    kept = filler.stat().st_size - left
    os.truncate(filler, max(0, kept))
    done = evaluate(out)
    if done.returncode != 0:
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
    filler.unlink()
    again = evaluate(out)
    assert again.returncode == 0, again.stderr
    assert [json.loads(line)["index"] for line in lines(out)] == list(range(48))
    files = ["examples.jsonl", "run.json", "summary.json", "verdicts.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == files


def test_a_folder_that_cannot_be_written_is_named(evaluate, tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    done = evaluate(tmp_path / "file")
    assert done.returncode == 1
    assert f"cannot write `{tmp_path / 'file'}`: File exists" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(evaluate, tmp_path):
    tmp_path.chmod(0o500)
    done = evaluate(tmp_path)
    tmp_path.chmod(0o700)
    assert done.returncode == 1
    assert "Permission denied" in done.stderr


def test_databases_that_may_not_be_read_are_named(databases, run_qsql):
    victim = databases / "seed_bank" / VARIANTS[0]
    victim.unlink()
    victim.symlink_to(databases / "nowhere")
    command = ["--gold", demo.GOLD, "--pred", demo.PREDICTIONS["weak"], "--db", databases]
    done = run_qsql("eval", *command)
    assert done.returncode == 1
    assert "database `seed_bank` not found" in done.stderr


def test_an_interrupted_call_leaves_the_scorer_whole(databases):
    # Nothing else would end it before the test counts as hanging.
    scorer = Scorer(databases, threads=2, timeout=FOREVER, max_steps=10**15)

    def stop(*_):
        raise TimeoutError

    with pytest.raises(TimeoutError):
        scorer.score([GOLD], [SLOW.format(limit=10**12)], ["seed_bank"], progress=stop)
    assert scorer.execution([GOLD], [f"{GOLD} WHERE 1"], ["seed_bank"]).tolist() == [True]
