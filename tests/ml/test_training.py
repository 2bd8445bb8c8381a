"""`qsql train` from end to end on a CPU: selection, interruption, resumption, the fast recipe against the card's."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, read_lines
from processes import started, stop, wait_for

WHOLE = ["save_strategy=no", "eval_strategy=no", "load_best_model_at_end=false", "metric_for_best_model=loss"]


@pytest.fixture(scope="module")
def finished(train, tiny, tmp_path_factory):
    """A run to the end with selection by execution: its folder and its process."""
    out = tmp_path_factory.mktemp("finished") / "run"
    done = train(out, "--select", "execution", "--db", tiny / "databases", "--validation-sample", 4)
    assert done.returncode == 0, done.stderr
    return out, done


def workers(out):
    """Ids of the worker processes of a run that are alive."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        # A zombie has no command line.
        if b"qsql.train.worker" in words and str(out).encode() in words:
            found.append(int(entry.name))
    return found


def test_a_run_leaves_a_model_curves_and_its_record(finished):
    out, done = finished
    assert "20 steps in" in done.stdout
    assert "best checkpoint: step" in done.stdout
    for name in (
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "train.yaml",
        "train.log",
    ):
        assert (out / name).stat().st_size > 0
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))["training"]
    assert record["outcome"]["steps"] == 20
    assert record["outcome"]["metric"] == "eval_execution"
    assert record["outcome"]["best_step"] in {5, 10, 15, 20}
    assert [entry["step"] for entry in read_lines(out / "execution.jsonl")] == [5, 10, 15, 20]
    assert {entry["count"] for entry in read_lines(out / "execution.jsonl")} == {4}
    predictions = read_lines(out / "validation" / "step-20.jsonl")
    assert len(predictions) == 4
    assert {"id", "sql", "gold", "completion", "state"} <= predictions[0].keys()
    losses = [entry["loss"] for entry in read_lines(out / "steps.jsonl")]
    assert len(losses) == 20
    assert losses[-1] < 0.8 * losses[0]


def test_the_saved_model_answers_prompts(finished):
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    from qsql.train.selection import answer  # noqa: PLC0415

    out, _ = finished
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    model.train()
    prompts = ["a", "a much longer question about many things, " * 5, "of middling length " * 3]
    together = answer(model, tokenizer, prompts)
    alone = [answer(model, tokenizer, [prompt])[0] for prompt in prompts]
    assert [completion.text for completion in together] == [completion.text for completion in alone]
    assert model.training


def test_a_run_that_was_killed_is_resumed_to_the_same_end(finished, train, train_command, tmp_path, tiny):
    out = tmp_path / "run"
    selection = ["--select", "execution", "--db", tiny / "databases", "--validation-sample", 4]
    with started(train_command(out, *selection), stdout=subprocess.DEVNULL, env=ENVIRONMENT) as child:
        wait_for((out / "checkpoint-10" / "trainer_state.json").exists, child)
        child.kill()
        child.communicate()
        # The worker is in a session of its own; it does not outlive the process that started it.
        wait_for(lambda: not workers(out))
    done = train(out, *selection)
    assert done.returncode == 1
    assert "holds an earlier run\nhint: `--resume`" in done.stderr
    done = train(out, *selection, "--resume")
    assert done.returncode == 0, done.stderr
    assert "20 steps in" in done.stdout
    whole, resumed = (
        {entry["step"]: entry["loss"] for entry in read_lines(folder / "steps.jsonl")} for folder in (finished[0], out)
    )
    assert resumed.keys() == whole.keys()
    assert resumed[20] == pytest.approx(whole[20], rel=1e-5)
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["training"]["resumed_from"].endswith(
        ("-10", "-15")
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_worker_and_keeps_the_log(train_command, tmp_path, number, status):
    out = tmp_path / "run"
    with started(train_command(out), stdout=subprocess.DEVNULL, env=ENVIRONMENT) as child:
        wait_for(lambda: (out / "steps.jsonl").exists() and len(read_lines(out / "steps.jsonl")) >= 2, child)
        found, _, stderr = stop(child, number)
    assert found == status
    assert "interrupted; " in stderr
    assert not workers(out)
    assert "KeyboardInterrupt" in (out / "train.log").read_text(encoding="utf-8")


def test_a_failure_of_the_worker_is_explained(train, tiny, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for file in (tiny / "model").iterdir():
        (model / file.name).write_bytes(b"" if file.suffix == ".safetensors" else file.read_bytes())
    done = train(tmp_path / "run", f"model_name_or_path={model}")
    assert done.returncode == 1
    assert "error: training failed: " in done.stderr
    assert str(tmp_path / "run" / "train.log") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_template_that_generation_would_not_use_stops_selection_at_once(train, tiny, tmp_path):
    options = ["template=smollm2", "--select", "execution", "--db", tiny / "databases"]
    done = train(tmp_path / "run", *options)
    assert done.returncode == 1
    assert "template and the chat template of the tokenizer differ" in done.stderr
    assert "hint: set `template`" in done.stderr


def test_the_fast_recipe_optimises_as_the_cards_does(train, tmp_path):
    batches = {
        "card": [],
        "two rows": [
            *("per_device_train_batch_size=4", "gradient_accumulation_steps=2", "--attention", "masked"),
        ],
        "some recomputed": [
            *("per_device_train_batch_size=8", "gradient_accumulation_steps=1", "--checkpoint-above", 3200),
        ],
    }
    losses = {}
    for name, arguments in batches.items():
        done = train(tmp_path / name, *WHOLE, "num_train_epochs=6", *arguments)
        assert done.returncode == 0, done.stderr
        log = (tmp_path / name / "train.log").read_text(encoding="utf-8")
        kept_apart = {"card": "no", "two rows": "masked", "some recomputed": "looped"}[name]
        assert log.count("batches without padding") == (name != "card")
        assert log.count(f"{kept_apart} attention") == (name != "card")
        entries = read_lines(tmp_path / name / "steps.jsonl")
        assert len(entries) == 30
        losses[name] = [entry["loss"] for entry in entries], entries[-1]["tokens"]
    for name, (values, tokens) in losses.items():
        assert values == pytest.approx(losses["card"][0], rel=1e-4), name
        assert tokens == losses["card"][1]
    # The learning rate is high enough for a step with other examples to show.
    assert losses["card"][0][-1] < 0.6 * losses["card"][0][0]
