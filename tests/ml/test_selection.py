"""Selection by execution accuracy: the best checkpoint is the one with the most right answers, not the least loss."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ENVIRONMENT, read_lines
from processes import PATIENCE

from qsql import QsqlError
from qsql.config import Config
from qsql.train.dataset import read_parts
from qsql.train.inference_copy import copy_whole
from qsql.train.selection import ExecutionSelection, break_tie, draw_sample

# The answers of the model are replaced: all right at steps 10 and 15, wrong at the others.
REPLACED = """
import json, sys
from qsql.train import selection, worker
from qsql.engines import Completion
rows = {row["instruction"]: row["output"] for row in json.load(open(sys.argv[2]))}
calls = []
def answer(model, tokenizer, prompts, **_):
    calls.append(len(prompts))
    right = len(calls) in (2, 3)
    queries = [rows[prompt] if right else "SELECT 0 WHERE 0" for prompt in prompts]
    return [Completion("```sql\\n" + query + ";\\n```", 1, "stop", 0.0) for query in queries]
selection.answer = answer
worker.main()
"""


def test_the_checkpoint_with_the_most_right_answers_is_kept(tiny, train_command, tmp_path):
    from qsql.train.plan import Options, make_plan, write_plan  # noqa: PLC0415

    out = tmp_path / "run"
    config, *overrides = train_command(out)[4:]
    options = Options(select="execution", database_dir=tiny / "databases", validation_sample=5)
    write_plan(make_plan(Path(config), overrides, options), ["qsql"])
    command = [sys.executable, "-c", REPLACED, str(out), str(tiny / "data" / "validation.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    state = json.loads((out / "trainer_state.json").read_text(encoding="utf-8"))
    losses = {entry["step"]: entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry}
    assert losses[20] < losses[15] < losses[10]
    assert state["best_model_checkpoint"].endswith("checkpoint-15")
    assert state["best_metric"] == pytest.approx(1.0)
    assert [entry["execution"] for entry in read_lines(out / "execution.jsonl")] == [0.0, 1.0, 1.0, 0.0]
    assert (out / "model.safetensors").read_bytes() == (out / "checkpoint-15" / "model.safetensors").read_bytes()


def test_a_tie_goes_to_the_least_loss():
    def value(accuracy, best, *losses):
        log = [{"step": step, "eval_loss": loss} for step, loss in enumerate(losses, 1)]
        state = SimpleNamespace(best_metric=best, best_global_step=1, global_step=2, log_history=log)
        return break_tie(accuracy, state)

    assert value(0.4, None, 1.0, 0.5) == 0.4
    assert 0.4 < value(0.4, 0.4, 1.0, 0.5) < 0.4 + 1e-12
    assert 0.0 < value(0.0, 0.0, 1.0, 0.5) < 1e-12
    # The best so far has won a tie itself.
    assert value(0.4, math.nextafter(0.4, 1), 1.0, 0.5) > math.nextafter(0.4, 1)
    assert value(0.4, 0.4, 0.5, 1.0) == 0.4
    assert value(0.4, 0.5, 1.0, 0.5) == 0.4
    assert value(0.4, 0.4) == 0.4


def test_the_sample_is_the_same_each_time(tiny):
    config = Config({"dataset_dir": str(tiny / "data"), "eval_dataset": "validation"}, {})
    parts = read_parts(config, "eval_dataset")
    assert draw_sample(parts, 5) == draw_sample(parts, 5)
    assert len(draw_sample(parts, 5)) == 5
    assert len(draw_sample(parts, 500)) == 8


def test_columns_of_other_names_and_packed_examples_are_selected_by_execution(tiny, train, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    names = {"instruction": "question_text", "output": "sql"}
    for name in ("train", "validation"):
        examples = json.loads((tiny / "data" / f"{name}.json").read_text(encoding="utf-8"))
        renamed = [{names.get(key, key): value for key, value in example.items()} for example in examples]
        (data / f"{name}.json").write_text(json.dumps(renamed), encoding="utf-8")
    columns = {"prompt": "question_text", "response": "sql"}
    info = {name: {"file_name": f"{name}.json", "columns": columns} for name in ("train", "validation")}
    (data / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    out = tmp_path / "run"
    settings = [f"dataset_dir={data}", "packing=true", "max_steps=2", "eval_steps=2", "save_steps=2"]
    done = train(out, *settings, "--select", "execution", "--db", tiny / "databases", "--validation-sample", 3)
    assert done.returncode == 0, done.stderr
    answers = read_lines(out / "validation" / "step-2.jsonl")
    assert len(answers) == 3
    assert all(line["gold"].startswith("SELECT") for line in answers)


def test_a_prompt_is_compared_where_it_is_whole(tmp_path, tiny):
    selection = ExecutionSelection(tmp_path, [], tiny / "databases", None, [], cutoff=4)
    whole = {"input_ids": [1, 2, 3], "labels": [-100, -100, 3]}
    assert selection._has_whole_prompt(whole)
    assert not selection._has_whole_prompt({"input_ids": [1, 2, 3, 4], "labels": [-100, -100, 3, 4]})
    # With train_on_prompt.
    assert not selection._has_whole_prompt({"input_ids": [1, 2, 3], "labels": [1, 2, 3]})


def test_a_gold_that_fails_is_named_before_training(tiny, tmp_path):
    example = {"instruction": "q", "output": "SELECT nothing FROM nowhere", "db_id": "seed_bank", "id": "17"}
    with pytest.raises(QsqlError, match="validation example `17` fails"):
        ExecutionSelection(tmp_path, [example], tiny / "databases", None, [])


def test_the_copy_that_generates_has_the_weights_of_the_model(tiny):
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    model = AutoModelForCausalLM.from_pretrained(tiny / "model", dtype=torch.float32).train()
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.01)
    copied = copy_whole(model, torch.bfloat16)
    expected = {name: weights.to(torch.bfloat16) for name, weights in model.state_dict().items()}
    assert {name for name, _ in copied.state_dict().items()} == set(expected)
    for name, weights in copied.state_dict().items():
        assert torch.equal(weights, expected[name]), name
    assert not copied.training
    assert model.training
    assert model.config._attn_implementation != copied.config._attn_implementation
    model.register_buffer("more", torch.zeros(1))
    with pytest.raises(ValueError, match=r"the copy differs in .'more'"):
        copy_whole(model, torch.bfloat16)
