"""Scorers beside each other: in many threads, under asyncio, after forks, in processes that are spawned."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest
from processes import PATIENCE, started, stop

from qsql import QsqlError, Scorer, demo, score_async

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
GOLD = "SELECT species_id FROM species"
DB_ID = "seed_bank"


def batch(number):
    """A batch of which each thread has its own, with the answers."""
    predictions = [f"SELECT species_id FROM species WHERE species_id > {limit - number}" for limit in range(12)]
    return [GOLD] * 12, predictions, [DB_ID] * 12


@pytest.mark.parametrize("threads", [1, 3])
def test_many_threads_get_their_own_verdicts(demo_databases, threads):
    expected = [Scorer(demo_databases, threads=1).execution(*batch(number)).tolist() for number in range(8)]
    assert len({tuple(found) for found in expected}) > 4
    scorer, found = Scorer(demo_databases, threads=threads), {}

    def work(number):
        found[number] = [scorer.execution(*batch(number)).tolist() for _ in range(5)]

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == {number: [expected[number]] * 5 for number in range(8)}


def test_the_event_loop_goes_on_while_a_batch_is_scored(demo_databases):
    scorer = Scorer(demo_databases, threads=1, timeout=3600, max_steps=200_000_000)

    async def main():
        task = asyncio.create_task(score_async(scorer, ["SELECT 1"], [ENDLESS], [DB_ID], "exec"))
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        return turns, (await task)[0]

    turns, verdict = asyncio.run(main())
    assert verdict.state == "timeout"
    assert turns > 100


def test_several_tasks_share_a_scorer(demo_databases):
    scorer = Scorer(demo_databases)
    seen = []

    async def main():
        calls = [
            score_async(scorer, *batch(number), progress=lambda *counts: seen.append(counts)) for number in range(4)
        ]
        return await asyncio.gather(*calls)

    verdicts = asyncio.run(main())
    for number, found in enumerate(verdicts):
        assert [one.execution for one in found] == scorer.execution(*batch(number)).tolist()


def test_a_cancelled_task_stops_its_queries(demo_databases):
    scorer = Scorer(demo_databases, threads=1, timeout=3600, max_steps=10**15)
    ended = []

    async def main():
        runs, loop = asyncio.Event(), asyncio.get_running_loop()

        def tell(*_):
            loop.call_soon_threadsafe(runs.set)

        call = score_async(scorer, ["SELECT 1"], [ENDLESS], [DB_ID], "exec", progress=tell)
        task = asyncio.create_task(call)
        await runs.wait()
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            ended.append(True)

    # Without an end of the query this would hang: asyncio waits for its threads.
    asyncio.run(main())
    assert ended == [True]


def test_errors_come_through_a_task(demo_databases):
    with pytest.raises(QsqlError, match="lists differ in length"):
        asyncio.run(score_async(Scorer(demo_databases), ["SELECT 1"], [], []))


def test_ctrl_c_ends_asyncio_run(demo_databases):
    code = f"""
import asyncio, qsql
scorer = qsql.Scorer({str(demo_databases)!r}, timeout=3600, max_steps=10**15)
tell = lambda *_: print("running", flush=True)
asyncio.run(qsql.score_async(scorer, ["SELECT 1"], [{ENDLESS!r}], ["seed_bank"], "exec", progress=tell))
"""
    with started([sys.executable, "-c", code]) as process:
        assert process.stdout.readline() == "running\n"
        _, _, stderr = stop(process, signal.SIGINT)
    assert "KeyboardInterrupt" in stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_others_score_does_not_hang(demo_databases):
    code = f"""
import os, threading, qsql
scorer = qsql.Scorer({str(demo_databases)!r}, threads=2)
golds, db_ids = ["SELECT species_id FROM species"] * 20, ["seed_bank"] * 20
judge = lambda: all(verdict.execution for verdict in scorer.score(golds, golds, db_ids, 'exec'))
stop = threading.Event()
def work():
    while not stop.is_set():
        judge()
workers = [threading.Thread(target=work) for _ in range(2)]
for worker in workers:
    worker.start()
for _ in range(100):
    child = os.fork()
    if child == 0:
        os._exit(0 if judge() else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for worker in workers:
    worker.join()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=PATIENCE)


def judged_elsewhere(scorer):
    return scorer.execution([GOLD] * 2, [GOLD, "SELECT 0"], [DB_ID] * 2).tolist()


def test_a_scorer_goes_to_processes_that_are_spawned(demo_databases):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(judged_elsewhere, (Scorer(demo_databases, threads=1),)) == [True, False]


def test_a_pickled_scorer_has_the_same_settings(demo_databases, tmp_path):
    settings = {"keep_distinct": True, "plug_value": True, "credit_empty": False, "variants": False, "run_to_end": True}
    settings |= {"threads": 3, "timeout": 2.5, "max_steps": 12_345, "max_memory": 1 << 20, "cache_dir": tmp_path}
    scorer = Scorer(demo_databases, demo.TABLES, **settings)
    copy = pickle.loads(pickle.dumps(scorer))
    assert copy.__getnewargs_ex__() == ((demo_databases, demo.TABLES), settings)
    assert copy.databases(DB_ID) == scorer.databases(DB_ID)
    assert pickle.loads(pickle.dumps(Scorer(demo_databases))).__getnewargs_ex__()[1]["threads"] is None


def test_a_scorer_whose_folder_is_gone_says_so_when_unpickled(tmp_path):
    (tmp_path / "databases").mkdir()
    data = pickle.dumps(Scorer(tmp_path / "databases"))
    (tmp_path / "databases").rmdir()
    with pytest.raises(QsqlError, match="not found"):
        pickle.loads(data)
