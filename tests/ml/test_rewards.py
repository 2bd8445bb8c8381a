"""Execution rewards in TRL's GRPOTrainer, with tiny models on the CPU."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT, read_lines
from processes import PATIENCE

from qsql.rewards import STATES

EXAMPLE = ROOT / "benches" / "grpo.py"
STEPS = 30

# The TRL of the environment is the one that LLaMA-Factory takes; a newer one lies in a folder beside it.
PLACES = [Path(sys.prefix, "rl"), EXAMPLE.parent, ROOT / "python"]
RL_ENVIRONMENT = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(map(str, PLACES))}

# What GRPOTrainer makes of completions that we choose: the golds, others, and some whose gold fails.
CHOSEN = """
import json, sys
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from grpo import demo_rows, write_tiny_policy
from qsql import demo
from qsql.rewards import ExecutionReward, execution_reward
import os, pathlib
folder = pathlib.Path(sys.argv[1])
os.environ["QSQL_DATABASES"] = str(demo.build(folder / "databases"))
rows = demo_rows()
trainer = GRPOTrainer(
    model=str(write_tiny_policy(folder / "policy", rows)),
    reward_funcs=[execution_reward, ExecutionReward(runs=0.25, name="partial")],
    args=GRPOConfig(
        output_dir=str(folder), report_to="none", per_device_train_batch_size=12, num_generations=4, bf16=False
    ),
    train_dataset=Dataset.from_list(rows),
)
def reward(completions, rows=rows):
    prompts = [row["prompt"] for row in rows]
    return trainer._calculate_rewards(rows, prompts, completions, [[1]] * len(rows)).tolist()
golds = [row["query"] for row in rows]
print(json.dumps({
    "golds": reward(golds),
    "said": reward([[{"role": "assistant", "content": f"```sql\\n{gold};\\n```"}] for gold in golds]),
    "others": reward(["SELECT 12345"] * len(golds)),
    "failing": reward(golds, [{**row, "query": "SELECT price FROM nowhere"} for row in rows]),
}))
"""


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A finished run of the example, without arguments but for its length: its folder and output."""
    out = tmp_path_factory.mktemp("grpo")
    command = [sys.executable, EXAMPLE, "--out", out, "--steps", str(STEPS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=RL_ENVIRONMENT, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def steps_of(out):
    """What the trainer logged for each step."""
    history = json.loads((out / "history.json").read_text(encoding="utf-8"))
    return [entry for entry in history if "reward" in entry]


def test_a_policy_learns_from_its_rewards(learned):
    out, stdout = learned
    history = steps_of(out)
    assert [entry["step"] for entry in history] == list(range(1, STEPS + 1))
    rewards = [entry["rewards/execution_reward/mean"] for entry in history]
    assert all(math.isfinite(entry[name]) for entry in history for name in ("loss", "reward", "grad_norm"))
    assert rewards == [entry["reward"] for entry in history]
    assert max(rewards[:3]) < 0.1
    assert min(rewards[-3:]) > 0.3
    assert f"step {STEPS:4}  reward {rewards[-1]:.3f}  right " in stdout
    assert stdout.splitlines()[-1].startswith(f"mean reward: {rewards[0]:.3f} in the first step, {rewards[-1]:.3f} in")


def test_the_reasons_are_logged(learned):
    out, _ = learned
    history, log = steps_of(out), read_lines(out / "rewards.jsonl")
    assert [line["step"] for line in log] == list(range(STEPS))
    for entry, line in zip(history, log, strict=True):
        assert line["reward"] == pytest.approx(entry["reward"], abs=1e-6)
        assert len(line["completions"]) == sum(line["states"].values()) == 384
        shares = {state: count / 384 for state, count in line["states"].items()}
        assert shares == pytest.approx({state: entry[f"execution_reward/{state}"] for state in STATES}, abs=1e-6)
    right = [item for item in log[-1]["completions"] if item["state"] == "right"]
    assert right
    assert {item["reward"] for item in right} == {1.0}
    assert {item["sql"] for item in right} <= {item["gold"] for item in log[-1]["completions"]}
    assert {item["reward"] for item in log[-1]["completions"]} <= {0.0, 0.1, 1.0}


def test_the_trainer_gets_the_rewards_of_what_it_is_given(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CHOSEN, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env=RL_ENVIRONMENT,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["golds"] == found["said"] == [[1.0, 1.0]] * 12
    assert found["others"] == [[0.0, 0.25]] * 12
    assert all(math.isnan(reward) for pair in found["failing"] for reward in pair)
    assert "the gold of item 0 fails on `seed_bank.sqlite`: no such table: nowhere" in done.stderr


def test_a_prepared_data_set_is_trained_on_as_a_conversation(tiny, tmp_path):
    places = ["--model", tiny / "model", "--data", tiny / "data", "--db", tiny / "databases", "--out", tmp_path]
    command = [sys.executable, EXAMPLE, *places, "--steps", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=RL_ENVIRONMENT, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    (line,) = read_lines(tmp_path / "rewards.jsonl")
    assert len(line["completions"]) == 64
    assert {item["db_id"] for item in line["completions"]} <= {path.name for path in (tiny / "databases").iterdir()}
    assert line["reward"] == pytest.approx(steps_of(tmp_path)[0]["reward"], abs=1e-6)
