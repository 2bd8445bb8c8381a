"""Reinforcement learning with execution rewards: TRL's GRPOTrainer on a data set of `qsql data prepare`.

    python benches/grpo.py                                      # half a minute on a CPU
    python benches/grpo.py --model saves/model --data data/spider --db spider/database --steps 500

Needs `pip install 'qsql-lab[rl]'`. Without arguments it trains a policy with random weights on a demo database. Its
tokens are words and whole queries, so that it can learn within seconds which query answers which question. With
arguments it trains a model that answers in SQL already, the kind that rewards can make better.

Each step prints the mean reward and what came of the completions. OUT gets the model, `rewards.jsonl` with every
completion, its reward and the reason, and `history.json`, the log of the trainer.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AddedToken,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Qwen3Config,
    Qwen3ForCausalLM,
    TrainerCallback,
)
from trl import GRPOConfig, GRPOTrainer

from qsql import demo
from qsql.data import read_examples
from qsql.rewards import STATES, ExecutionReward

DATABASE = "seed_bank"
"""The demo database whose questions the tiny policy learns."""

TINY_SETTINGS = {
    "learning_rate": 1e-2,
    "num_generations": 32,
    "max_completion_length": 1,
}
SETTINGS = {
    "learning_rate": 1e-6,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 8,
    "num_generations": 8,
    "max_completion_length": 256,
}
"""Of a model with billions of weights; 64 completions a step on one GPU."""


def read_rows(data: Path) -> list[dict[str, Any]]:
    """Rows of a prepared data set: the prompt as a conversation, and what the reward needs."""
    rows = json.loads((data / "train.json").read_text(encoding="utf-8"))
    return [
        {
            "prompt": [{"role": "user", "content": row["instruction"]}],
            "query": row["output"],
            "db_id": row["db_id"],
        }
        for row in rows
    ]


def demo_rows() -> list[dict[str, Any]]:
    """Questions of a demo database as plain prompts."""
    examples = [example for example in read_examples(demo.FOLDER / "examples.json") if example.db_id == DATABASE]
    return [{"prompt": example.question, "query": example.query, "db_id": example.db_id} for example in examples]


def write_tiny_policy(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a two-layer Qwen3 with random weights, whose tokens are the words of the prompts, and the queries."""
    words = sorted({word for row in rows for word in row["prompt"].split()})
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<end>", "<unknown>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106
        eos_token="<end>",  # noqa: S106
        unk_token="<unknown>",  # noqa: S106
    )
    fast.add_tokens([AddedToken(row["query"], normalized=False) for row in rows])
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


class StepPrinter(TrainerCallback):
    """Prints a line for each step: the mean reward, and the share of the completions in each state."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:  # noqa: ARG002
        if logs and "reward" in logs and state.is_world_process_zero:
            shares = {name: float(logs[f"execution_reward/{name}"]) for name in STATES}
            states = "  ".join(f"{name} {share:.2f}" for name, share in shares.items() if share)
            print(f"step {state.global_step:4}  reward {float(logs['reward']):.3f}  {states}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model that answers in SQL; by default a tiny one with random weights")
    parser.add_argument("--data", type=Path, help="a data set of `qsql data prepare`; by default the demo")
    parser.add_argument("--db", type=Path, help="the folder of its databases")
    parser.add_argument("--out", type=Path, default=Path("qsql-grpo"), help="where everything goes (qsql-grpo)")
    parser.add_argument("--steps", type=int, default=60, help="optimiser steps (60)")
    arguments = parser.parse_args()
    given = [arguments.model, arguments.data, arguments.db]
    if any(given) and not all(given):
        parser.error("--model, --data and --db belong together")
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    tiny = not arguments.model
    rows = demo_rows() if tiny else read_rows(arguments.data)
    # With several GPUs (`accelerate launch benches/grpo.py ...`) each has a process; one of them makes what all read.
    processes = PartialState()
    if processes.is_main_process:
        (out / "rewards.jsonl").unlink(missing_ok=True)
        if tiny:
            demo.build(out / "databases")
            write_tiny_policy(out / "policy", rows)
    processes.wait_for_everyone()
    reward = ExecutionReward(
        out / "databases" if tiny else arguments.db,
        # A query that runs is a step on the way for a policy that starts from nothing. One that knows SQL needs no such
        # help, and would learn to collect it.
        runs=0.1 if tiny else 0.0,
        log=out / "rewards.jsonl",
    )
    settings = TINY_SETTINGS if tiny else SETTINGS
    if tiny:
        # All questions make a step, which the processes share.
        settings = {**settings, "per_device_train_batch_size": len(rows) * 32 // processes.num_processes}
    trainer = GRPOTrainer(
        model=str(out / "policy") if tiny else arguments.model,
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=str(out),
            max_steps=arguments.steps,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            bf16=torch.cuda.is_available() and not tiny,
            disable_tqdm=True,
            seed=0,
            **settings,
        ),
        train_dataset=Dataset.from_list(rows),
        callbacks=[StepPrinter()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer.save_model(str(out))
    if not processes.is_main_process:
        return
    history = trainer.state.log_history
    (out / "history.json").write_text(json.dumps(history, indent=2) + "\n", encoding="utf-8")
    means = [entry["rewards/execution_reward/mean"] for entry in history if "reward" in entry]
    if not means:
        raise SystemExit(f"error: no step was taken, since one needs more than {len(rows)} rows")
    print(f"mean reward: {means[0]:.3f} in the first step, {means[-1]:.3f} in the last of {len(means)}")


if __name__ == "__main__":
    main()
