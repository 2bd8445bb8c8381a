"""Model cards: the hub's own classes read them, every number is that of a file, and what is missing is said."""

from __future__ import annotations

import json
import shutil

import pytest
from huggingface_hub import ModelCard

from qsql import QsqlError, demo, records, results
from qsql.evaluate import Settings, evaluate
from qsql.report.card import MISSING, CardSettings, model_card
from qsql.report.curves import read_training
from qsql.report.page import write_report
from qsql.report.run import read_run
from qsql.report.tables import percent

EXAMPLES = demo.FOLDER / "examples.json"
LOG = [
    {"current_steps": 1, "total_steps": 3, "loss": 2.0, "lr": 1e-4, "epoch": 1.0},
    {"current_steps": 2, "total_steps": 3, "loss": 1.5, "lr": 5e-5, "epoch": 2.0},
    {"current_steps": 2, "total_steps": 3, "eval_loss": 1.75, "epoch": 2.0},
    # A resumed run does a step again.
    {"current_steps": 2, "total_steps": 3, "loss": 1.25, "lr": 5e-5, "epoch": 2.0},
    {"current_steps": 3, "total_steps": 3, "loss": 1.0, "lr": 0.0, "epoch": 3.0},
]
TRAINING = {
    "config": {
        "model_name_or_path": "Qwen/Qwen3-4B-Base",
        "stage": "sft",
        "finetuning_type": "full",
        "learning_rate": 5e-6,
        "num_train_epochs": 4.0,
        "bf16": True,
        "cutoff_len": 2048,
    },
    "data": {"train": {"path": "/secret/train.json", "sha256": "ab" * 32, "examples": 7000}},
    "examples_per_step": 8,
    "gpus": [0, 1],
    "versions": {"torch": "2.9"},
    "outcome": {"steps": 3, "best_step": 2, "best_metric": 0.5, "metric": "eval_execution", "seconds": 60.5},
}


def lines(items):
    return "".join(json.dumps(item) + "\n" for item in items)


@pytest.fixture
def training(tmp_path):
    """Directory of a training run."""
    directory = tmp_path / "qwen_sql"
    directory.mkdir()
    results.write_json(directory / "run.json", {"training": TRAINING})
    (directory / "trainer_log.jsonl").write_text(lines(LOG), encoding="utf-8")
    entry = {"step": 2, "execution": 0.5, "correct": 10, "count": 20}
    (directory / "execution.jsonl").write_text(lines([entry]), encoding="utf-8")
    results.write_json(directory / "all_results.json", {"train_loss": 1.41666, "eval_loss": 1.75})
    (directory / "curves.png").write_bytes(b"")
    return directory


@pytest.fixture(scope="module")
def run_directory(demo_databases, tmp_path_factory):
    directory = tmp_path_factory.mktemp("card") / "strong"
    evaluate(Settings(EXAMPLES, demo.PREDICTIONS["strong"], demo_databases, demo.TABLES), directory)
    return directory


def rows(text):
    """Rows of the tables of a Markdown text."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_the_hub_reads_the_results_of_the_summary(run_directory, training):
    settings = CardSettings(dataset="xlangai/spider", license="apache-2.0")
    card = ModelCard(
        model_card(read_run(run_directory), read_training(training), settings), ignore_metadata_errors=False
    )
    summary = results.read_json(run_directory / "summary.json")["all"]
    found = {result.metric_type: result for result in card.data.eval_results}
    for metric, share in (("execution_accuracy", summary["execution"]), ("exact_match", summary["exact"])):
        assert found[metric].metric_value == float(percent(share))
        assert found[metric].dataset_type == "xlangai/spider"
    assert (card.data.model_name, card.data.license) == ("qwen_sql", "apache-2.0")
    assert (card.data.base_model, card.data.library_name) == ("Qwen/Qwen3-4B-Base", "transformers")


def test_the_breakdown_is_that_of_the_summary(run_directory):
    summary = results.read_json(run_directory / "summary.json")
    found = {row[0]: row[1:] for row in rows(model_card(read_run(run_directory), None, CardSettings()))}
    names = (*records.LEVELS, "all")
    assert found["execution accuracy %"] == [percent(summary[name]["execution"]) for name in names]
    assert found["exact match %"] == [percent(summary[name]["exact"]) for name in names]
    assert found["canonical exact match %"] == [percent(summary[name]["canonical_exact"]) for name in names]
    assert found["examples"] == [str(summary[name]["count"]) for name in names]


def test_the_training_setup_is_that_of_the_run(run_directory, training):
    text = model_card(read_run(run_directory), read_training(training), CardSettings())
    found = {row[0]: row[1] for row in rows(text) if len(row) == 2}
    assert found["base model"] == "Qwen/Qwen3-4B-Base"
    assert (found["method"], found["precision"], found["devices"]) == ("full sft", "bf16", "2")
    assert (found["learning rate"], found["epochs"], found["steps"]) == ("5e-06", "4.0", "3")
    assert (found["training loss"], found["validation loss"]) == ("1.4167", "1.7500")
    assert (found["best checkpoint"], found["chosen by"]) == ("step 2", "eval\\_execution")
    assert found["its execution accuracy on the validation sample"] == "50.0 % of 20"
    assert found["train data"] == f"`{'ab' * 32}`"
    # Nothing in a file tells these.
    assert found["schedule"] == found["seed"] == found["warm-up"] == MISSING
    assert "![Learning curves](curves.png)" in text


def test_what_is_not_there_is_missing(run_directory, demo_databases, tmp_path):
    text = model_card(read_run(run_directory), None, CardSettings())
    assert text.count("Setup: missing") == 2
    assert "curves" not in text
    assert ModelCard(text).data.base_model is None
    evaluate(Settings(EXAMPLES, demo.PREDICTIONS["weak"], demo_databases, etype="exec"), tmp_path / "exec")
    text = model_card(read_run(tmp_path / "exec"), None, CardSettings())
    assert ["exact match %", *[MISSING] * 5] in rows(text)
    assert [result.metric_type for result in ModelCard(text).data.eval_results] == ["execution_accuracy"]


def test_a_card_names_no_folder(run_directory, training, tmp_path):
    run = results.read_json(training / "run.json")
    run["training"]["config"]["model_name_or_path"] = str(tmp_path / "base|model")
    results.write_json(training / "run.json", run)
    text = model_card(read_run(run_directory), read_training(training), CardSettings())
    assert str(tmp_path) not in text
    assert str(run_directory.parent) not in text
    assert "/secret" not in text
    assert "base\\|model" in text
    assert ModelCard(text).data.base_model is None


def test_the_command_writes_the_card(run_qsql, run_directory, training, tmp_path):
    done = run_qsql("card", run_directory, "--train-run", training, "--out", tmp_path / "README.md", "--name", "mine")
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "README.md").read_text(encoding="utf-8").startswith("---\n")
    assert run_qsql("card", run_directory, "--name", "mine").stdout.count("# mine\n") == 1


def test_a_folder_that_is_no_training_run_is_refused(run_qsql, run_directory):
    done = run_qsql("card", run_directory, "--train-run", run_directory)
    assert done.returncode == 1
    assert "is no training run" in done.stderr


def test_curves_hold_what_was_logged(training):
    found = read_training(training)
    assert found.panels == {
        "loss": {"training": [(1, 2.0), (2, 1.25), (3, 1.0)], "validation": [(2, 1.75)]},
        "execution accuracy": {"validation sample": [(2, 0.5)]},
        "learning rate": {"learning rate": [(1, 1e-4), (2, 5e-5), (3, 0.0)]},
    }
    assert found.best_step == 2
    with (training / "trainer_log.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"current_steps": 4, "loss')
    assert read_training(training).panels == found.panels
    # A line that a kill left half-written is continued by the resumed run.
    with (training / "trainer_log.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"current_steps": 4, "loss": 0.5}\n{"current_steps": 5, "loss": 0.25}\n')
    assert read_training(training).panels["loss"]["training"] == [*found.panels["loss"]["training"], (5, 0.25)]


def test_curves_are_in_the_page(run_directory, training, tmp_path):
    write_report(read_run(run_directory), tmp_path / "page.html", training)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("the line marks the best checkpoint, step 2") == 2 * 3
    assert "10 of 20" in text
    shutil.rmtree(training)
    with pytest.raises(QsqlError, match="is no training run"):
        write_report(read_run(run_directory), tmp_path / "page.html", training)
