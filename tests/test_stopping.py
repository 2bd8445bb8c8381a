"""Ctrl-C, SIGTERM and SIGHUP: what is finished is kept and said, and the exit status tells which it was."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading

import pytest
from chat_server import chat_server, completion
from processes import PATIENCE, started, stop, wait_for
from processes import qsql as command

import qsql
from qsql import QsqlError, Scorer, demo, results
from qsql.evaluate import Interrupted, Settings, evaluate

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signals")

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
signals = pytest.mark.parametrize(("number", "status"), SIGNALS.items(), ids=[number.name for number in SIGNALS])
DB_ID = "seed_bank"
ENDLESS = "WITH RECURSIVE r(x) AS (SELECT {0} UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r"
FOREVER = 10**15
"""Steps that no test waits for: endless queries run into the deadline."""


def written(path):
    """How many lines a file has."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def write_pairs(folder, predictions):
    gold, pred = folder / "gold.sql", folder / "pred.sql"
    gold.write_text("".join(f"SELECT {number}\t{DB_ID}\n" for number in range(len(predictions))), encoding="utf-8")
    pred.write_text("".join(f"{text}\n" for text in predictions), encoding="utf-8")
    return gold, pred


@pytest.fixture
def slow(tmp_path):
    """Golds and predictions, fewer than a batch, of which every third runs into a deadline: minutes of work."""
    texts = [ENDLESS.format(number) if number % 3 == 0 else f"SELECT {number}" for number in range(500)]
    return write_pairs(tmp_path, texts)


def evaluation(gold, pred, databases, out, *options):
    inputs = ["--gold", gold, "--pred", pred, "--db", databases, "--out", out]
    return command("eval", *inputs, "--max-steps", FOREVER, "--timeout", 1, *options)


@signals
@pytest.mark.parametrize("options", [(), ("--plug_value",), ("--threads", 1), ("--etype", "exec")])
def test_eval_keeps_what_is_settled_and_says_how_much(demo_databases, tmp_path, slow, number, status, options):
    gold, pred = slow
    out = tmp_path / "run"
    partial = out / results.PARTIAL
    with started(evaluation(gold, pred, demo_databases, out, *options)) as process:
        # Long before the batch ends.
        wait_for(lambda: written(partial) >= 3, process)
        found, _, said = stop(process, number)
    assert found == status
    (kept,) = re.findall(r"the same command goes on from the (\d+) of 500 examples that are finished in `", said)
    assert "Traceback" not in said
    lines = [json.loads(line) for line in partial.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len({line["index"] for line in lines}) == int(kept)
    assert all(line["execution"] is (line["index"] % 3 != 0) for line in lines)
    assert not (out / results.VERDICTS).exists()

    # A mark shows that finished verdicts are kept, and a line that is cut off in the middle is not taken for one.
    text = partial.read_text(encoding="utf-8").replace('"databases": 4', '"databases": 99', 1)
    partial.write_text(text + '{"index": 499, "id": "499', encoding="utf-8")
    again = Settings(
        gold, pred, demo_databases,
        etype="exec" if "exec" in options else "all", plug_value="--plug_value" in options,
        max_steps=FOREVER, timeout=1.0,
    )  # fmt: skip
    with pytest.raises(Interrupted) as caught:
        evaluate(again, out, progress=interrupt_once)
    assert caught.value.finished >= int(kept)
    assert [json.loads(line)["databases"] for line in partial.read_text(encoding="utf-8").splitlines()].count(99) == 1


def interrupt_once(*_):
    raise KeyboardInterrupt


def test_a_run_that_was_settled_in_any_order_is_written_in_order(demo_databases, tmp_path):
    gold, pred = write_pairs(tmp_path, [f"SELECT {number}" for number in range(30)])
    settings = Settings(gold, pred, demo_databases)
    evaluate(settings, tmp_path / "whole")
    out = tmp_path / "run"
    evaluate(settings, out)
    lines = (out / results.VERDICTS).read_text(encoding="utf-8").splitlines(keepends=True)
    (out / results.VERDICTS).unlink()
    (out / results.SUMMARY).unlink()
    (out / results.PARTIAL).write_text("".join([*lines[20:25], *lines[3:9], lines[29]]), encoding="utf-8")
    evaluate(settings, out)
    for name in (results.VERDICTS, results.EXAMPLES):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (out / results.PARTIAL).exists()


@pytest.mark.parametrize("threads", [1, 2])
def test_verdicts_are_told_as_they_are_settled(demo_databases, threads):
    """On a suite of four files, where nearly all are settled at the end of a batch if that is soon."""
    golds = [f"SELECT {number}" for number in range(40)]
    predictions = [ENDLESS.format(number) if number % 8 == 2 else f"SELECT {number}" for number in range(40)]
    scorer = Scorer(demo_databases, threads=threads, max_steps=FOREVER, timeout=0.7)
    calls = []
    found = scorer.score(golds, predictions, [DB_ID] * 40, "exec", settled=calls.append)
    assert [verdict.execution for verdict in found] == [number % 8 != 2 for number in range(40)]
    told = [item for call in calls for item in call]
    # Five deadlines on so many threads take longer than it takes to be told.
    assert told
    assert len(told) == len({position for position, _ in told})
    assert all(found[position] == verdict for position, verdict in told)


def test_what_is_settled_of_an_interrupted_call_is_final(demo_databases):
    """The first golds of a slow database go through all of its files before the last ones are begun."""
    golds = [f"SELECT {number}" for number in range(60)]
    predictions = [f"SELECT {number} + {number % 2} - 0" for number in range(20)]
    predictions += [ENDLESS.format(number) for number in range(40)]
    scorer = Scorer(demo_databases, threads=2, max_steps=FOREVER, timeout=1)
    told = {}

    def settled(items):
        told.update(items)
        if len(told) >= 20:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        scorer.score(golds, predictions, [DB_ID] * 60, settled=settled)
    assert set(range(20)) <= set(told)
    assert len(told) < 60
    places = range(20)
    again = scorer.score([golds[n] for n in places], [predictions[n] for n in places], [DB_ID] * 20)
    assert [told[place] for place in places] == again
    assert {told[place].state for place in set(told) - set(places)} <= {"timeout"}


def test_what_an_interrupted_query_seems_to_return_is_not_settled(demo_databases):
    scorer = Scorer(demo_databases, threads=2, max_steps=FOREVER, timeout=1, plug_value=True)
    told = []
    with pytest.raises(KeyboardInterrupt):
        scorer.score(["SELECT 1"] * 4, [ENDLESS.format(n) for n in range(4)], [DB_ID] * 4, "exec",
                     progress=interrupt_once, settled=told.extend)  # fmt: skip
    assert told == []


def test_a_disk_that_is_full_ends_the_call(demo_databases):
    def settled(_):
        raise QsqlError("No space left on device")

    scorer = Scorer(demo_databases, threads=2, max_steps=FOREVER, timeout=1)
    golds = [f"SELECT {number}" for number in range(9)]
    predictions = [*golds[:3], *(ENDLESS.format(number) for number in range(6))]
    with pytest.raises(QsqlError, match="No space left"):
        scorer.score(golds, predictions, [DB_ID] * 9, settled=settled)


def test_before_anything_is_finished_that_is_what_is_said(demo_databases, tmp_path):
    gold, pred = write_pairs(tmp_path, [ENDLESS.format(number) for number in range(3)])
    out = tmp_path / "run"
    with started(evaluation(gold, pred, demo_databases, out)) as process:
        wait_for((out / results.EXAMPLES).exists, process)
        status, _, said = stop(process, signal.SIGTERM)
    assert status == 143
    assert said == "interrupted; none of 3 examples is finished yet, and the same command begins again\n"
    # It holds nothing, and so may be another run.
    gold, pred = write_pairs(tmp_path, ["SELECT 0"])
    evaluate(Settings(gold, pred, demo_databases), out)


@signals
def test_without_a_run_directory_nothing_is_kept_and_that_is_said(demo_databases, slow, number, status):
    gold, pred = slow
    inputs = ["--gold", gold, "--pred", pred, "--db", demo_databases, "--max-steps", FOREVER, "--timeout", 1]
    # The first line is printed by Python's own trace: the interpreter is past its start.
    with started([sys.executable, "-c", SAYS_WHEN_SCORING, "eval", *inputs]) as process:
        assert process.stdout.readline() == "scoring\n"
        found, _, said = stop(process, number)
    assert (found, said) == (status, "interrupted; without `--out` nothing is kept\n")


SAYS_WHEN_SCORING = """
import sys
from qsql import evaluate
score = evaluate._score
def tell(*arguments):
    print("scoring", flush=True)
    return score(*arguments)
evaluate._score = tell
from qsql.cli import main
main()
"""


@signals
def test_the_official_command_line_ends_like_the_others(demo_databases, slow, number, status):
    gold, pred = slow
    code = SAYS_WHEN_SCORING.replace(
        "from qsql.cli import main\nmain()", "from qsql.official import main\nsys.exit(main())"
    )
    inputs = ["--gold", gold, "--pred", pred, "--db", demo_databases]
    with started([sys.executable, "-c", code, *inputs]) as process:
        assert process.stdout.readline() == "scoring\n"
        assert stop(process, number)[0] == status


@signals
def test_generate_keeps_what_is_answered_and_says_how_much(tmp_path, number, status):
    out = tmp_path / "run"
    release = threading.Event()

    def answer(request, _):
        if request >= 5:
            release.wait(PATIENCE)
        return completion("SELECT 1")

    try:
        with chat_server(answer) as (url, _):
            arguments = ["--data", demo.FOLDER / "examples.json", "--tables", demo.TABLES, "--engine", "openai"]
            arguments += ["--model", "m", "--base-url", url, "--concurrency", 1, "--out", out, "retries=0"]
            with started(command("generate", *arguments)) as process:
                wait_for(lambda: written(out / results.PREDICTIONS) >= 3, process)
                found, _, said = stop(process, number)
            release.set()
    finally:
        release.set()
    assert found == status
    (kept,) = re.findall(r"the same command goes on from the (\d+) of 48 questions that are finished in `", said)
    assert written(out / results.PREDICTIONS) == int(kept) >= 3


@signals
def test_prepare_leaves_what_was_there(tmp_path, number, status):
    rows = [{"question": f"q{n}", "query": "SELECT a FROM t", "schema": f"CREATE TABLE t (a, b{n})"} for n in range(4)]
    source = tmp_path / "rows.json"
    source.write_text(json.dumps(rows), encoding="utf-8")
    with started(
        [sys.executable, "-c", WAITS_WHEN_CLEANING, "data", "prepare", source, "--out", tmp_path / "out"]
    ) as process:
        assert process.stdout.readline() == "cleaning\n"
        found, _, said = stop(process, number)
    assert (found, said) == (status, f"interrupted; `{tmp_path / 'out'}` is as it was\n")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


WAITS_WHEN_CLEANING = """
import signal, sys
from qsql import prepare
def wait(*_):
    print("cleaning", flush=True)
    while True:
        signal.pause()
prepare._clean = wait
from qsql.cli import main
main()
"""


@signals
def test_train_ends_its_child_too(tmp_path, number, status):
    """With a stand-in for LLaMA-Factory, which tests/ml runs."""
    (tmp_path / "run").mkdir()
    with started([sys.executable, "-c", TRAINS, tmp_path / "run"]) as process:
        child = int(process.stdout.readline())
        wait_for(lambda: (tmp_path / "run" / "train.log").read_text() == "trains\n", process)
        found, _, said = stop(process, number)
    assert found == status
    assert said.startswith("interrupted; there is no checkpoint yet; the log is `")
    wait_for(lambda: not is_alive(child))
    assert "KeyboardInterrupt" in (tmp_path / "run" / "train.log").read_text()


def is_alive(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


TRAINS = """
import subprocess, sys
from pathlib import Path
from types import SimpleNamespace
from qsql.cli import train
from qsql.cli.stopping import stopping
from qsql.train import launch
directory = Path(sys.argv[1])
child = "import sys, time; print('trains', flush=True); sys.stdin.read()"
plan = SimpleNamespace(run_directory=directory, resume_from=None, steps=1, problems=list, versions={})
plan.config = SimpleNamespace(values={})
launch.command = lambda plan: [sys.executable, "-c", child]
launch.write_plan = lambda *_: None
launch.environment.require_packages = lambda _: None
start = subprocess.Popen
def popen(*arguments, **options):
    process = start(*arguments, **options)
    print(process.pid, flush=True)
    return process
launch.subprocess.Popen = popen
with stopping():
    try:
        train._run(plan)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def test_what_ignores_a_signal_goes_on(demo_databases, tmp_path):
    """As under nohup, which leaves SIGHUP ignored."""
    gold, pred = write_pairs(tmp_path, [ENDLESS.format(1)])
    out = tmp_path / "run"
    code = "import signal, os, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    whole = evaluation(gold, pred, demo_databases, out)
    with started([sys.executable, "-c", code, *whole]) as process:
        wait_for((out / results.EXAMPLES).exists, process)
        process.send_signal(signal.SIGHUP)
        status, _, _ = stop(process, signal.SIGTERM)
    assert status == 143


def test_a_second_signal_does_not_break_off_the_end(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from qsql.cli.stopping import stopping
with stopping():
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        signal.pause()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        Path(sys.argv[1]).write_text("saved")
"""
    with started([sys.executable, "-c", code, tmp_path / "file"]) as process:
        assert process.wait(PATIENCE) == 129
    assert (tmp_path / "file").read_text() == "saved"


def test_a_terminal_that_has_gone_changes_nothing(demo_databases, tmp_path, slow):
    """What is said there fails; what is finished is kept all the same."""
    pty = pytest.importorskip("pty")
    gold, pred = slow
    out = tmp_path / "run"
    ours, theirs = pty.openpty()
    with started(evaluation(gold, pred, demo_databases, out), stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        wait_for(lambda: written(out / results.PARTIAL) >= 3)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE) == 129
    assert written(out / results.PARTIAL) >= 3


def test_signals_are_those_of_the_caller_again():
    from qsql.cli.stopping import stopping  # noqa: PLC0415

    before = [signal.getsignal(number) for number in SIGNALS]
    with stopping():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_the_documentation_names_what_is_called():
    assert "settled" in (qsql.Scorer.score.__doc__ or "")
