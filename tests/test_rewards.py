"""Execution rewards: what completions earn, both signatures, failures, and processes of every kind."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from processes import PATIENCE

from qsql import QsqlError, rewards
from qsql.rewards import (
    STAGES,
    STATES,
    ExecutionReward,
    compute_score,
    compute_score_batched,
    count_states,
    execution_reward,
)

GOLD = "SELECT a FROM t"
NEVER = "SELECT a FROM t WHERE a > 9"
ENDLESS = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT x FROM r"
OVERFLOW = "SELECT abs(-9223372036854775807 - a) FROM t"
WEIGHTS = {"parses": 0.125, "compiles": 0.125, "runs": 0.25, "right_width": 0.25}


@pytest.fixture
def databases(tmp_path):
    """Folder with one database `shop` of two variants, where t holds 1 to 3 and 1 to 2."""
    (tmp_path / "shop").mkdir()
    for suffix, rows in [("", 3), ("v0", 2)]:
        connection = sqlite3.connect(tmp_path / "shop" / f"shop{suffix}.sqlite")
        connection.execute("CREATE TABLE t (a INTEGER, b TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(row, f"r{row}") for row in range(1, rows + 1)])
        connection.commit()
        connection.close()
    return tmp_path


@pytest.fixture
def named_databases(databases, monkeypatch):
    """The same, named by the environment."""
    monkeypatch.setenv("QSQL_DATABASES", str(databases))
    return databases


def call(reward, completions, gold=GOLD, **columns):
    """Call a reward as TRL does."""
    count = len(completions)
    columns = {"query": [gold] * count, "db_id": ["shop"] * count, **columns}
    prompts = ["Which?"] * count
    return reward(prompts=prompts, completions=completions, completion_ids=[[1]] * count, **columns)


def test_a_completion_earns_what_its_sql_returns(databases):
    completions = [
        GOLD,
        "```sql\nSELECT t.a FROM t ORDER BY b;\n```",
        "<think>SELECT a FROM t</think>SELECT b FROM t",
        "SELECT a FROM t UNION ALL SELECT 3 WHERE (SELECT count(*) FROM t) < 3",
        "SELEC a",
        "I cannot answer this.",
        "DROP TABLE t",
        "",
    ]
    reward = ExecutionReward(databases)
    assert call(reward, completions) == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    states = [outcome.state for outcome in reward.latest]
    assert states == ["right", "right", "wrong", "wrong", "missing", "missing", "forbidden", "missing"]
    assert reward.latest[3].failed_on == "shopv0.sqlite"
    assert reward.latest[1].sql == "SELECT t.a FROM t ORDER BY b"
    assert call(ExecutionReward(databases, variants=False), completions)[3] == 1.0


@pytest.mark.parametrize(
    ("completion", "stage", "credit"),
    [
        (GOLD, "right_result", 1.0),
        ("SELECT b FROM t", "right_width", 0.75),
        ("SELECT a, b FROM t", "runs", 0.5),
        (OVERFLOW, "compiles", 0.25),
        (ENDLESS.replace("SELECT x FROM r", "SELECT x, x FROM r"), "compiles", 0.25),
        ("SELECT price FROM t", "parses", 0.125),
        ("SELECT a FROM", "nothing", 0.0),
        ("DELETE FROM t", "nothing", 0.0),
        ("", "nothing", 0.0),
    ],
)
def test_partial_credit_is_the_sum_of_the_stages(databases, completion, stage, credit):
    reward = ExecutionReward(databases, **WEIGHTS, max_steps=100_000)
    assert call(reward, [completion]) == [credit]
    assert reward.latest[0].stage == stage
    plain = ExecutionReward(databases, max_steps=100_000)
    assert call(plain, [completion]) == [float(stage == "right_result")]


def test_each_weight_counts_alone(databases):
    completions = ["SELECT b FROM t", "SELECT a, b FROM t", "SELECT price FROM t"]
    earned = {name: call(ExecutionReward(databases, **{name: 0.5}), completions) for name in WEIGHTS}
    assert earned == {
        "parses": [0.5, 0.5, 0.5],
        "compiles": [0.5, 0.5, 0.0],
        "runs": [0.5, 0.5, 0.0],
        "right_width": [0.5, 0.0, 0.0],
    }


def test_what_is_empty_everywhere_earns_credit_only_where_asked(databases):
    strict, lenient = ExecutionReward(databases), ExecutionReward(databases, credit_empty=True)
    assert call(strict, ["SELECT 1 WHERE 0", GOLD], NEVER) == [0.0, 0.0]
    assert [outcome.state for outcome in strict.latest] == ["empty", "wrong"]
    assert call(lenient, ["SELECT 1 WHERE 0", GOLD], NEVER) == [1.0, 0.0]
    assert call(ExecutionReward(databases, runs=0.5), ["SELECT a FROM t WHERE 0"], NEVER) == [0.5]


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ([{"role": "assistant", "content": GOLD}], 1.0),
        ([{"role": "assistant", "content": [{"type": "text", "text": "SELECT a "}, {"text": "FROM t"}]}], 1.0),
        (
            [
                {"role": "assistant", "content": "Let me look.", "tool_calls": []},
                {"role": "tool", "content": "SELECT b FROM t"},
                {"role": "assistant", "content": GOLD},
                {"role": "tool", "content": "3"},
            ],
            1.0,
        ),
        ([{"role": "assistant", "content": None}], 0.0),
        ([{"role": "tool", "content": GOLD}], 0.0),
        ([], 0.0),
    ],
)
def test_of_a_conversation_the_last_words_of_the_assistant_count(databases, completion, expected):
    assert call(ExecutionReward(databases), [completion]) == [expected]


@pytest.mark.parametrize("completion", [None, 3, {"role": "assistant", "content": GOLD}, ["a"], [{"content": 3}]])
def test_what_is_no_completion_is_an_error(databases, completion):
    with pytest.raises(QsqlError, match=r"completion 1 is .*\nhint: give a text"):
        call(ExecutionReward(databases), [GOLD, completion])


def test_trl_logs_the_reasons_where_it_can(databases):
    tables, metrics = {}, {}
    reward = ExecutionReward(databases, name="spider")
    call(
        reward,
        [GOLD, "SELECT b FROM t", "SELECT price FROM t", "what?"],
        trainer_state=SimpleNamespace(global_step=7),
        log_extra=tables.__setitem__,
        log_metric=metrics.__setitem__,
    )
    assert reward.__name__ == "spider"
    assert tables == {
        "spider/sql": [GOLD, "SELECT b FROM t", "SELECT price FROM t", ""],
        "spider/state": ["right", "wrong", "sql_error", "missing"],
        "spider/stage": ["right_result", "right_width", "parses", "nothing"],
        "spider/detail": ["", "other cells than the gold", "no such column: price", "no prediction"],
    }
    # All of them in each call: processes of a run wait for each other's metrics, one by one.
    assert list(metrics) == [f"spider/{state}" for state in STATES]
    assert [metrics[f"spider/{state}"] for state in ("right", "wrong", "sql_error", "missing", "timeout")] == [
        *[0.25] * 4,
        0.0,
    ]


def test_the_log_has_a_line_for_each_call(databases, tmp_path, monkeypatch):
    log = tmp_path / "runs" / "rewards.jsonl"
    reward = ExecutionReward(databases, log=log)
    call(reward, [GOLD, "SELECT '\udcff'"], trainer_state=SimpleNamespace(global_step=3))
    monkeypatch.setenv("RANK", "1")
    call(reward, ["SELECT 1"], "SELECT price FROM t")
    first, second = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    assert (first["step"], first["rank"], first["reward"]) == (3, 0, 0.5)
    assert {state: count for state, count in first["states"].items() if count} == {"right": 1, "sql_error": 1}
    assert first["stages"] == {"right_result": 1, "nothing": 1}
    assert first["completions"][0] == {
        "db_id": "shop",
        "gold": GOLD,
        "reward": 1.0,
        "state": "right",
        "stage": "right_result",
        "detail": None,
        "failed_on": None,
        "sql": GOLD,
    }
    assert (second["step"], second["rank"], second["reward"], second["stages"]) == (None, 1, None, {})
    with pytest.raises(QsqlError, match=r"cannot write .*\nhint: name another file"):
        call(ExecutionReward(databases, log=log / "log"), [GOLD])


def test_a_gold_that_fails_is_skipped_and_told_once(databases, caplog):
    reward = ExecutionReward(databases)
    for _ in range(2):
        assert call(reward, [GOLD, "SELECT 1"], query=["SELECT price FROM t", GOLD]) == [None, 0.0]
    assert reward.latest[0].state == "gold_error"
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == (
        "the gold of item 0 fails on `shop.sqlite`: no such column: price; its completions get no reward: "
        "`SELECT price FROM t`"
    )
    strict = ExecutionReward(databases, gold_error="raise")
    with pytest.raises(QsqlError, match=r"the gold of item 1 fails on `shop.sqlite`: .*\n`SELECT u`\nhint: mend"):
        call(strict, [GOLD, GOLD], query=[GOLD, "SELECT u"])


UNRUN = {
    "no SQL": "I do not know.",
    "nothing": "",
    "another answer": "SELECT 0",
    "no such table": "SELECT 1 FROM u",
    "no syntax": "SELECT FROM",
    "a write": "DROP TABLE t",
    "too long": f"SELECT '{'x' * 60_000}'",
    "undecodable": "SELECT '\udcff'",
    "the gold itself": None,
    "wrong on the first database": "SELECT a FROM t WHERE a < 3",
}
"""Completions of all sorts; most never come to where a gold fails."""
FAILING_GOLDS = {
    "no such column": "SELECT price FROM t",
    "no syntax": "SELEC a FROM t",
    "a write": "DELETE FROM t",
    "endless": ENDLESS,
    "overflow": OVERFLOW,
    "too long": f"SELECT '{'x' * 60_000}'",
    "on the second database alone": f"{GOLD} WHERE (SELECT count(*) FROM t) = 3 OR abs(-9223372036854775807 - a)",
}


@pytest.mark.parametrize("gold", FAILING_GOLDS.values(), ids=FAILING_GOLDS)
def test_no_completion_of_a_gold_that_fails_earns_anything(databases, gold):
    reward = ExecutionReward(databases, max_steps=100_000, **WEIGHTS)
    texts = [gold if text is None else text for text in UNRUN.values()]
    assert call(reward, texts, gold) == [None] * len(texts)
    assert {(outcome.state, outcome.stage) for outcome in reward.latest} == {("gold_error", None)}
    # Whatever else is in the batch: alone, and beside completions of a gold that does not fail.
    for text in texts:
        assert call(reward, [text], gold) == [None]
        assert call(reward, [text, GOLD, "none"], query=[gold, GOLD, GOLD]) == [None, 1.0, 0.0]
    found = compute_score_batched(
        [""] * len(texts), texts, [gold] * len(texts), [{"db_id": "shop"}] * len(texts),
        database_dir=str(databases), max_steps=100_000,
    )  # fmt: skip
    assert {outcome["score"] for outcome in found} == {0.0}


@pytest.mark.parametrize(
    "text", [text for text in UNRUN.values() if text is not None], ids=[*UNRUN][:-2] + [*UNRUN][-1:]
)
def test_a_gold_that_does_not_fail_still_earns_what_it_did(databases, text):
    assert call(ExecutionReward(databases), [text]) == [0.0]
    # A result that is empty everywhere is no failure of its gold.
    assert call(ExecutionReward(databases), [NEVER, "none"], NEVER) == [0.0, 0.0]


@pytest.mark.parametrize("content", ["mine", '{"step": 1}', "[]", "{"])
def test_only_a_log_of_rewards_is_appended_to(databases, tmp_path, content):
    log = tmp_path / "log.jsonl"
    log.write_text(content, encoding="utf-8")
    with pytest.raises(QsqlError, match=r"exists and is no log of rewards\nhint: "):
        ExecutionReward(databases, log=log)
    assert log.read_text(encoding="utf-8") == content
    log.write_text("", encoding="utf-8")
    for _ in range(2):
        call(ExecutionReward(databases, log=log), [GOLD])
    assert log.read_text(encoding="utf-8").count("\n") == 2


@pytest.mark.parametrize("gold", ["", ";", "-- to be done"])
def test_a_gold_without_a_statement_earns_nothing(databases, gold):
    """Least of all with an empty result, which such a gold would be the same as."""
    reward = ExecutionReward(databases)
    completions = ["```sql\nSELECT a FROM t WHERE 0\n```", "```sql\nSELECT a FROM t\n```", "I do not know."]
    assert call(reward, completions, gold) == [None] * 3
    assert {outcome.state for outcome in reward.latest} == {"gold_error"}
    scores = compute_score_batched(
        [""] * 3, completions, [gold] * 3, [{"db_id": "shop"}] * 3, database_dir=str(databases)
    )
    assert [(score["score"], score["acc"], score["state"]) for score in scores] == [(0.0, 0.0, "gold_error")] * 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query": None}, r"none of the columns `gold`, .*; it has .*`db_id`\nhint: .*gold_column"),
        ({"answer": [GOLD]}, r"any of the columns `query`, `answer`\nhint: say which"),
        ({"db_id": None}, r"no column `db_id`; it has .*`query`\nhint: "),
        ({"db_id": ["shop", "shop"]}, r"column `db_id` has 2 items, for 1 completions\nhint: "),
        ({"query": GOLD}, r"column `query` is a text, for 1 completions\nhint: "),
        ({"db_id": ["../shop"]}, r"item 0: `../shop` is not a database name\nhint: "),
        ({"db_id": [3]}, r"the database name of item 0 is 3, not a text\nhint: "),
        ({"query": [None]}, r"the gold of item 0 is None, not a text\nhint: "),
        ({"query": ["SELECT '\udcff'"]}, r"the gold of item 0 is not valid UTF-8: .*\nhint: "),
        ({"prompts": ["a", "b"]}, r"2 prompts and 1 completions: .*\nhint: "),
    ],
)
def test_wrong_columns_are_errors(databases, columns, message):
    given = {"prompts": ["Which?"], "query": [GOLD], "db_id": ["shop"], **columns}
    given = {name: column for name, column in given.items() if column is not None}
    with pytest.raises(QsqlError, match=message):
        ExecutionReward(databases)(completions=[GOLD], **given)


def test_columns_of_other_names_are_found_where_they_are_named(databases):
    reward = ExecutionReward(databases, gold_column="answer", db_id_column="database")
    assert reward(None, [GOLD], query=["SELECT 1"], answer=[GOLD], database=["shop"]) == [1.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parses": -0.1}, r"partial credit `parses` is -0.1\nhint: "),
        ({"runs": float("nan")}, r"partial credit `runs` is nan\nhint: "),
        ({"runs": 0.5, "right_width": 0.5}, r"partial credits sum up to 1, as much .*\nhint: "),
        ({"gold_error": "ignore"}, r"`gold_error` is 'ignore'\nhint: "),
        ({"timeout": 0}, r"`timeout` is 0\.0"),
        ({"threads": 0}, r"`threads` is 0"),
    ],
)
def test_wrong_settings_are_errors_at_once(databases, settings, message):
    with pytest.raises(QsqlError, match=message):
        ExecutionReward(databases, **settings)


def test_the_folder_of_databases_must_be_named_and_exist(databases, monkeypatch):
    monkeypatch.delenv("QSQL_DATABASES", raising=False)
    with pytest.raises(QsqlError, match="no folder of databases is named\nhint: set QSQL_DATABASES"):
        call(execution_reward, [GOLD])
    with pytest.raises(QsqlError, match="absent` not found"):
        ExecutionReward(databases / "absent")


@pytest.mark.usefixtures("named_databases")
def test_the_plain_function_takes_the_folder_from_the_environment():
    assert call(execution_reward, [GOLD, "SELECT b FROM t"]) == [1.0, 0.0]
    assert execution_reward.__name__ == "execution_reward"
    assert call(ExecutionReward(), [GOLD]) == [1.0]
    assert execution_reward([], [], query=[], db_id=[]) == []


def test_verl_scores_one_by_one(databases):
    # As NaiveRewardManager of verl/workers/reward_manager/naive.py does, through the partial of get_custom_reward_fn.
    score = partial(compute_score, database_dir=str(databases), right_width=0.5)
    extra_info = {"db_id": "shop", "index": 0, "num_turns": None, "rollout_reward_scores": {}}
    found = score(data_source="spider", solution_str="SELECT b FROM t", ground_truth=GOLD, extra_info=extra_info)
    assert found == {
        "score": 0.5,
        "acc": 0.0,
        "pred": "SELECT b FROM t",
        "state": "wrong",
        "stage": "right_width",
        "detail": "other cells than the gold",
    }
    right = score(data_source="spider", solution_str=GOLD, ground_truth=GOLD, extra_info=extra_info)
    assert (right["score"], right["acc"], right["detail"]) == (1.0, 1.0, "")
    # As verl/workers/reward_manager/prime.py does.
    assert partial(score, "spider", GOLD, GOLD, extra_info)(details=False) == 1.0


def test_verl_scores_a_batch(databases):
    # As BatchRewardManager.verify of verl/workers/reward_manager/batch.py does.
    extras = np.array([{"db_id": "shop"}, {"db_id": np.str_("shop")}, {"db_id": "shop"}], dtype=object)
    scores = compute_score_batched(
        data_sources=np.array(["spider"] * 3, dtype=object),
        solution_strs=[GOLD, "SELECT 1", "SELECT 1"],
        ground_truths=[GOLD, GOLD, "SELECT price FROM t"],
        extra_infos=extras,
        database_dir=databases,
        reward_router_address=None,
    )
    assert [score["score"] for score in scores] == [1.0, 0.0, 0.0]
    assert [score["state"] for score in scores] == ["right", "wrong", "gold_error"]
    # verl makes a column of each key, so all have the same, with numbers or texts.
    assert len({tuple((key, type(value)) for key, value in score.items()) for score in scores}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["s"], [GOLD], [GOLD], [{}]), r"`extra_info` of item 0 has no `db_id`; it has none\nhint: "),
        ((["s"], [GOLD], [GOLD], [None]), r"`extra_info` of item 0 has no `db_id`; it has none\nhint: "),
        ((["s"], [GOLD], [GOLD], [{"db_id": None}]), r"the database name of item 0 is None, not a text\nhint: "),
        ((["s"], [GOLD, GOLD], [GOLD], [{}]), r"1 data_sources, 2 solution_strs, 1 ground_truths and 1 extra_infos"),
        ((["s"], [GOLD], [None], [{"db_id": "shop"}]), r"the gold of item 0 is None, not a text\nhint: "),
    ],
)
@pytest.mark.usefixtures("named_databases")
def test_what_verl_gets_wrong_is_an_error(arguments, message):
    with pytest.raises(QsqlError, match=message):
        compute_score_batched(*arguments)
    with pytest.raises(QsqlError, match="`extra_info` of item 0 has no `db_id`"):
        compute_score("s", GOLD, GOLD)
    with pytest.raises(TypeError, match="max_stpes"):
        compute_score("s", GOLD, GOLD, {"db_id": "shop"}, max_stpes=3)


@pytest.mark.usefixtures("named_databases")
def test_verl_may_load_the_file_by_its_path():
    # As `load_module` of verl/utils/import_utils.py does, which does not register the module.
    spec = importlib.util.spec_from_file_location("custom_module", rewards.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.compute_score("s", GOLD, GOLD, {"db_id": "shop"})["score"] == 1.0


def test_a_reward_can_be_pickled(databases, monkeypatch):
    reward = ExecutionReward(databases, **WEIGHTS, gold_column="answer", name="mine")
    before = reward(None, ["SELECT b FROM t"], answer=[GOLD], db_id=["shop"])
    monkeypatch.chdir("/")
    copy = pickle.loads(pickle.dumps(reward))
    assert copy(None, ["SELECT b FROM t"], answer=[GOLD], db_id=["shop"]) == before == [0.75]
    assert (copy.__name__, repr(copy)) == ("mine", repr(reward))
    assert pickle.loads(pickle.dumps(execution_reward)) is execution_reward
    outcome = reward.latest[0]
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_workers_of_every_kind_get_the_same_rewards(databases):
    reward = ExecutionReward(databases, threads=2)
    arguments = None, [GOLD, "SELECT b FROM t"]
    columns = {"query": [GOLD] * 2, "db_id": ["shop"] * 2}
    assert reward(*arguments, **columns) == [1.0, 0.0]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(reward, *arguments, **columns).result(timeout=PATIENCE)
        assert found == [1.0, 0.0]
        score = partial(compute_score, database_dir=str(databases))
        assert pool.submit(score, "s", GOLD, GOLD, {"db_id": "shop"}).result(timeout=PATIENCE)["score"] == 1.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_reward_survives_a_fork_in_the_middle_of_its_work(databases):
    # The locks of the parent's evaluator may be held at that moment; in the child nobody would release them.
    code = f"""
import os, threading
from qsql.rewards import ExecutionReward, execution_reward
reward = ExecutionReward(threads=2, max_steps=3_000_000)
def judge(reward, completion={GOLD!r}):
    return reward(None, [completion] * 8, query=[{GOLD!r}] * 8, db_id=["shop"] * 8)
assert judge(execution_reward) == [1.0] * 8
stop = threading.Event()
def work():
    while not stop.is_set():
        assert judge(reward, {ENDLESS!r}) == [0.0] * 8
thread = threading.Thread(target=work)
thread.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        os._exit(0 if judge(reward) == judge(execution_reward) == [1.0] * 8 else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
"""
    environment = {**os.environ, "QSQL_DATABASES": str(databases), "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE, env=environment)


def test_threads_share_a_reward(databases):
    reward = ExecutionReward(databases, threads=2)
    found = []

    def work(completion, expected):
        found.extend(call(reward, [completion] * 10) == [expected] * 10 for _ in range(20))

    threads = [threading.Thread(target=work, args=job) for job in [(GOLD, 1.0), ("SELECT b FROM t", 0.0)] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 160


def test_processes_of_one_host_share_its_cores(databases, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
    assert ExecutionReward(databases).threads == 1
    assert ExecutionReward(databases, threads=3).threads == 3


def test_states_and_stages_are_those_of_the_evaluator(databases):
    reward = ExecutionReward(databases)
    call(reward, [GOLD, "SELECT b FROM t", "SELECT a, b FROM t", OVERFLOW, "SELECT price", "", "DROP TABLE t"])
    assert {outcome.state for outcome in reward.latest} < set(STATES)
    assert {outcome.stage for outcome in reward.latest} == set(STAGES)
    assert count_states(reward.latest)["wrong"] == 2
    assert list(count_states([])) == list(STATES)
