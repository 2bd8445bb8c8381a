"""Faults of the machine: databases that vanish, change or are broken while they are used, and disks that are full.

A run either ends with the items marked that are affected, or stops with an error and goes on by the same command;
verdicts that were finished are never lost. That a run that was killed goes on is in `test_cli.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from qsql import QsqlError, Scorer, demo, results

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
    verdicts = Scorer(databases, threads=2).score(golds, predictions, ["seed_bank", "seed_bank", "night_log"])
    # A folder is no database, so it is no variant.
    expected = (True, None) if damage == "folder" else (None, VARIANTS[1])
    assert (verdicts[0].execution, verdicts[0].failed_on) == expected
    assert (verdicts[1].execution, verdicts[1].failed_on) == (False, VARIANTS[0])
    assert verdicts[2].execution is True


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
