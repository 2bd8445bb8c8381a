"""Files that commands read, broken in every place: whatever is there, it is used, or refused with place and hint."""

from __future__ import annotations

import copy
import io
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from qsql import QsqlError, Scorer, cli, demo, records, results
from qsql.config import load_config
from qsql.evaluate import Settings, evaluate
from qsql.generate import Settings as GenerationSettings
from qsql.generate import generate
from qsql.generate.questions import read_questions
from qsql.generate.settings import KEYS, settings_from
from qsql.prepare.sources import SourceOptions, read_source
from qsql.report import charts
from qsql.report.card import CardSettings, model_card
from qsql.report.compare import compare, comparison_text, warnings
from qsql.report.curves import read_training
from qsql.report.page import examples_data, facts, run_sections, training_section
from qsql.report.run import read_run
from qsql.report.tables import report
from qsql.results import read_json, read_lines
from qsql.schema_text import read_schemas
from qsql.train.dataset import read_parts
from qsql.train.launch import _begin
from qsql.train.plan import Options, make_plan
from qsql.training_log import read_log

GOLDS = [
    {"id": 1, "db_id": "seed_bank", "question": "How many?", "query": "SELECT count(*) FROM species"},
    {"id": "b", "db_id": "seed_bank", "question": "Which?", "query": "SELECT latin_name FROM species"},
]
PREDICTIONS = [
    {"id": 1, "sql": "SELECT count(*) FROM species WHERE 1", "question": "How many?"},
    {"id": "b", "sql": "SELECT latin_name FROM species LIMIT 1"},
]
DELETED = object()
VALUES = [None, True, -1, 10**250, "\ud800", [], [1, [2]], {"a": {"b": 1}}, DELETED]


def places(document, path=()):
    """The way to every value in a document; of a list only to the first two."""
    yield path
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*path, key))
    elif isinstance(document, list):
        for at, value in enumerate(document[:2]):
            yield from places(value, (*path, at))


def replaced(document, path, value):
    """A copy with another value in one place, or without it."""
    if not path:
        return [] if value is DELETED else value
    document = copy.deepcopy(document)
    parent = document
    for step in path[:-1]:
        parent = parent[step]
    if value is DELETED:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return document


def break_everywhere(document, write, use, keep=lambda _: True):
    """Use a document that is broken in each place by each value; how many of them were refused with a hint."""
    refused = 0
    for path in filter(keep, places(document)):
        for value in VALUES:
            write(replaced(document, path, value))
            try:
                use()
            except QsqlError as error:
                refused += "\nhint: " in str(error)
            except Exception as error:
                raise AssertionError(f"{'.'.join(map(str, path))} = {value!r}") from error
    return refused


def write_document(path, document):
    path.write_text(json.dumps(document), encoding="utf-8")


def write_first_line(path, lines, line):
    path.write_text("".join(json.dumps(one) + "\n" for one in [line, *lines[1:]]), encoding="utf-8")


@pytest.fixture(autouse=True)
def no_charts(monkeypatch):
    """Draw no charts, which take longest; what they draw is worked out all the same."""
    monkeypatch.setattr(charts, "_svg", lambda _: "<svg></svg>")


@pytest.fixture
def run(tmp_path, demo_databases):
    """A run of two examples."""
    gold, predictions = tmp_path / "gold.json", tmp_path / "pred.jsonl"
    write_document(gold, GOLDS)
    predictions.write_text("".join(json.dumps(line) + "\n" for line in PREDICTIONS), encoding="utf-8")
    evaluate(Settings(gold, predictions, demo_databases, demo.TABLES), tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def training(tmp_path):
    """The directory of a training run."""
    folder = tmp_path / "training"
    folder.mkdir()
    write_document(
        folder / "run.json",
        {
            "training": {
                "config": {"model_name_or_path": "a/b", "finetuning_type": "full", "bf16": True, "seed": 1},
                "data": {"train": {"sha256": "ab" * 32, "examples": 7}},
                "examples_per_step": 8,
                "gpus": [0],
                "versions": {"torch": "2.9", "trl": None},
                "outcome": {"steps": 3, "best_step": 2, "best_metric": 0.5, "metric": "loss", "seconds": 6.5},
            }
        },
    )
    write_first_line(
        folder / "trainer_log.jsonl",
        [None, {"current_steps": 2, "loss": 1.0}],
        {"current_steps": 1, "loss": 2, "lr": 1e-5},
    )
    write_first_line(folder / "execution.jsonl", [], {"step": 2, "execution": 0.5, "correct": 1, "count": 2})
    write_document(folder / "all_results.json", {"train_loss": 1.5, "eval_loss": 1.25})
    return folder


def show(run, training=None):
    """Make everything that is made of a run."""
    found = read_run(run)
    learned = None if training is None else read_training(training)
    Console(file=io.StringIO()).print(report(found, 10))
    model_card(found, learned, CardSettings())
    json.dumps(examples_data([found])[0], allow_nan=False)
    facts(found)
    run_sections(found)
    if learned is not None:
        training_section(learned)
    Console(file=io.StringIO()).print(comparison_text(compare([found, found]), 10))
    warnings([found, found])


def test_every_value_of_a_run_record_is_checked(run):
    document = read_json(run / "run.json")
    document["generation"] = {"fingerprint": "x", "settings": {"model": "m"}, "engine": {"dtype": "x", "versions": {}}}
    document["generation"] |= {"outcome": {"questions": 2, "compiling": 1}, "versions": {"qsql": "1"}}
    assert break_everywhere(document, partial(write_document, run / "run.json"), partial(show, run)) > 250


def test_every_value_of_a_summary_is_checked(run):
    document = read_json(run / "summary.json")
    write, use = partial(write_document, run / "summary.json"), partial(show, run)
    left_out = {"medium", "hard", "extra"}
    component = {*records.COMPONENTS[1:], *records.STATES[1:]}
    assert break_everywhere(document, write, use, lambda path: not (left_out | component) & set(path)) > 100


@pytest.mark.parametrize("name", ["verdicts.jsonl", "examples.jsonl"])
def test_every_value_of_a_line_of_a_run_is_checked(run, name):
    lines = read_lines(run / name)
    write, use = partial(write_first_line, run / name, lines), partial(show, run)
    assert break_everywhere(lines[0], write, use, lambda path: not set(records.COMPONENTS[1:]) & set(path)) > 50


@pytest.mark.parametrize("name", ["run.json", "all_results.json"])
def test_every_value_of_the_record_of_a_training_is_checked(run, training, name):
    document = read_json(training / name)
    assert break_everywhere(document, partial(write_document, training / name), partial(show, run, training)) > 15


@pytest.mark.parametrize("name", ["trainer_log.jsonl", "execution.jsonl"])
def test_every_value_of_a_log_of_a_training_is_checked(run, training, name):
    lines = read_log(training / name)
    write, use = partial(write_first_line, training / name, lines), partial(show, run, training)
    assert break_everywhere(lines[0], write, use) > 15


def test_every_value_of_golds_and_predictions_is_checked(tmp_path, demo_databases):
    gold, predictions = tmp_path / "gold.json", tmp_path / "pred.jsonl"

    def use():
        evaluate(Settings(gold, predictions, demo_databases, demo.TABLES), tmp_path / "run")
        shutil.rmtree(tmp_path / "run")

    write_first_line(predictions, PREDICTIONS, PREDICTIONS[0])
    assert break_everywhere(GOLDS, partial(write_document, gold), use) > 60
    write_document(gold, GOLDS)
    assert break_everywhere(PREDICTIONS[0], partial(write_first_line, predictions, PREDICTIONS), use) > 15


def test_every_value_of_a_tables_file_is_checked(tmp_path, demo_databases):
    path = tmp_path / "tables.json"
    document = [entry for entry in read_json(demo.TABLES) if entry["db_id"] == "seed_bank"]
    for entry in document:
        entry["primary_keys"] = [[1, 2], *entry["primary_keys"]]

    def use():
        with_python = with_rust = None
        try:
            read_schemas(path)
        except QsqlError as error:
            with_python = error
        try:
            Scorer(demo_databases, path).score(["SELECT 1"], ["SELECT 1"], ["seed_bank"], "match")
        except QsqlError as error:
            with_rust = error
        if with_python or with_rust:
            assert "\nhint: " in str(with_rust or with_python)
            raise with_python or with_rust

    assert break_everywhere(document, partial(write_document, path), use) > 60


def test_every_value_of_a_verdict_that_is_taken_up_is_checked(run, demo_databases):
    lines = read_lines(run / "verdicts.jsonl")
    whole = (run / "verdicts.jsonl").read_text(encoding="utf-8")
    settings = Settings(run.parent / "gold.json", run.parent / "pred.jsonl", demo_databases, demo.TABLES)

    def write(line):
        write_first_line(run / "verdicts.jsonl.partial", lines, line)

    def use():
        found = evaluate(settings, run)
        assert [verdict["id"] for verdict in found.verdicts] == ["1", "b"]
        read_run(run)

    keys = set(lines[0]) - set(records.VERDICT.keys)
    # What no reader knows stays as it is.
    assert break_everywhere(lines[0], write, use, lambda path: not path or path[0] not in keys) == 0
    write(lines[0])
    use()
    assert (run / "verdicts.jsonl").read_text(encoding="utf-8") == whole


@pytest.mark.parametrize(
    "break_it",
    [
        lambda lines: lines * 3,
        lambda lines: [lines[0], {**lines[1], "index": 2}],
        lambda lines: [{key: lines[0][key] for key in ("index", "id", "db_id")}],
        lambda lines: [lines[1], lines[0]],
        lambda lines: [{**lines[0], "id": "other"}],
        lambda lines: [None, lines[1]],
    ],
    ids=["more than there are", "another index", "keys missing", "another order", "another example", "null"],
)
def test_verdicts_that_do_not_fit_are_scored_again(run, demo_databases, break_it):
    lines = read_lines(run / "verdicts.jsonl")
    before = (run / "verdicts.jsonl").read_bytes()
    partial_ = run / "verdicts.jsonl.partial"
    partial_.write_text("".join(json.dumps(line) + "\n" for line in break_it(lines)), encoding="utf-8")
    settings = Settings(run.parent / "gold.json", run.parent / "pred.jsonl", demo_databases, demo.TABLES)
    evaluate(settings, run)
    assert (run / "verdicts.jsonl").read_bytes() == before
    assert not partial_.exists()


@pytest.mark.parametrize(
    "torn", [b'{"index": 0, "id": "1"', b"\0" * 100 + b"\n", b"\xff\xfe\n", b"[" * 5000 + b"\n", b"\n\n\n"]
)
def test_verdicts_that_are_torn_are_scored_again(run, demo_databases, torn):
    before = (run / "verdicts.jsonl").read_bytes()
    (run / "verdicts.jsonl.partial").write_bytes(before.splitlines(keepends=True)[0] + torn)
    settings = Settings(run.parent / "gold.json", run.parent / "pred.jsonl", demo_databases, demo.TABLES)
    evaluate(settings, run)
    assert (run / "verdicts.jsonl").read_bytes() == before


QUESTIONS = [{"id": 1, "question": "a?", "schema": "CREATE TABLE t (a)", "query": "SELECT a FROM t", "db_id": "d"}]


def test_every_value_of_questions_is_checked(tmp_path, demo_databases):
    path = tmp_path / "questions.json"
    full = [{**QUESTIONS[0], "instruction": "x", "input": "", "output": "y"}, *GOLDS]
    for document in (QUESTIONS, full):
        use = partial(read_questions, path, None, demo_databases)
        assert break_everywhere(document, partial(write_document, path), use) > 25


@pytest.mark.parametrize("name", ["predictions.jsonl", "run.json"])
def test_every_value_of_a_generation_that_is_taken_up_is_checked(tmp_path, name):
    write_document(tmp_path / "questions.json", QUESTIONS)
    overrides = [f"data={tmp_path / 'questions.json'}", "engine=gold", "repair=true"]
    settings = settings_from(load_config(None, overrides, KEYS, "generation"))[0]
    assert isinstance(settings, GenerationSettings)
    out = tmp_path / "run"
    generate(settings, out)
    content = (out / name).read_text(encoding="utf-8")

    def write(document):
        shutil.copytree(tmp_path / "whole", out, dirs_exist_ok=True)
        write_document(out / name, document)
        with (out / name).open("a", encoding="utf-8") as file:
            file.write("\n")

    shutil.copytree(out, tmp_path / "whole")
    assert break_everywhere(json.loads(content), write, lambda: generate(settings, out)) > 30


@pytest.fixture
def prepared(tmp_path):
    """A prepared data set."""
    write_document(tmp_path / "rows.json", [{**QUESTIONS[0], "id": at, "question": f"what is {at}?"} for at in "abc"])
    app("data", "prepare", tmp_path / "rows.json", "--out", tmp_path / "data", "--validation", "0", "--skip", "leakage")
    return tmp_path / "data"


def app(*arguments):
    """Run a command in this process."""
    cli.app(list(map(str, arguments)), standalone_mode=False)


def test_every_value_of_a_report_of_a_data_set_is_checked(prepared, capsys):
    document = read_json(prepared / "report.json")
    document["statistics"]["tokens"] = {"bin": 64, "histogram": {"0": 3, "64": 1}}
    write = partial(write_document, prepared / "report.json")
    left_out = {*list(document["statistics"]["features"])[1:], *list(document["settings"]), "stages", 1} - {"cutoff"}
    use = partial(app, "data", "show", prepared)
    assert break_everywhere(document, write, use, lambda path: not path or not left_out & set(path[1:])) > 100
    for histogram in ({"x": 1}, {"9" * 300: 1}, {"-1": 1}, {"1000000": 1}, {"\u0661": 1}):
        document["statistics"]["tokens"] = {"bin": 1, "histogram": histogram}
        write(document)
        with pytest.raises(QsqlError, match="is no histogram"):
            app("data", "show", prepared)
    capsys.readouterr()


@pytest.mark.parametrize(("name", "show"), [("train.json", "--index"), ("dropped.jsonl", "--dropped")])
def test_every_value_of_the_rows_of_a_data_set_is_checked(prepared, capsys, name, show):
    dropped = {"stage": "compile", "reason": "x", "detail": "x", "source": "x.json", "position": 1, "db_id": None}
    rows = [{**dropped, "question": "x", "query": "x"}] if name == "dropped.jsonl" else read_json(prepared / name)

    def write(document):
        if name == "dropped.jsonl":
            (prepared / name).write_text(f"{json.dumps(document)}\n", encoding="utf-8")
        else:
            write_document(prepared / name, [document])
        found = read_json(prepared / "report.json")
        found["outputs"][name] = results.sha256(prepared / name)
        write_document(prepared / "report.json", found)

    argument = "compile" if show == "--dropped" else "0"
    assert break_everywhere(rows[0], write, lambda: app("data", "show", prepared, show, argument)) > 30
    capsys.readouterr()


@pytest.mark.parametrize("name", ["dataset_info.json", "report.json", "train.json"])
def test_every_value_of_a_data_set_to_train_on_is_checked(prepared, name):
    config = load_config(
        None, [f"dataset_dir={prepared}", "dataset=train"], dict.fromkeys(("dataset", "dataset_dir"), KEYS["data"])
    )
    document = read_json(prepared / name)

    def use():
        for part in read_parts(config, "dataset"):
            part.lengths(100)
            [part.instruction(example) for example in part.examples]

    assert break_everywhere(document, partial(write_document, prepared / name), use) > 20


@pytest.mark.parametrize("name", ["config.json", "run.json", "trainer_state.json", "deepspeed.json", "fsdp.json"])
def test_every_value_of_what_a_training_is_planned_by_is_checked(prepared, training, tmp_path, name):
    model = tmp_path / "model"
    model.mkdir()
    config = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config |= {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100, "model_type": "qwen3"}
    write_document(model / "config.json", config)
    for file in ("tokenizer.json", "model.safetensors"):
        (model / file).write_text("{}", encoding="utf-8")
    checkpoint = training / "checkpoint-2"
    checkpoint.mkdir()
    write_document(checkpoint / "trainer_state.json", {"global_step": 2, "num_input_tokens_seen": 10})
    write_document(tmp_path / "deepspeed.json", {"zero_optimization": {"stage": 3}})
    write_document(tmp_path / "fsdp.json", {"version": 2, "reshard_after_forward": True})
    folders = {"config.json": model, "run.json": training, "trainer_state.json": checkpoint}
    path = folders.get(name, tmp_path) / name
    overrides = [f"dataset_dir={prepared}", "dataset=train", "eval_dataset=train", f"model_name_or_path={model}"]
    overrides += [f"output_dir={training}"]
    overrides += {
        "deepspeed.json": [f"deepspeed={path}"],
        "fsdp.json": [f"fsdp_config={path}", "fsdp=full_shard"],
    }.get(name, [])
    recipe = Path(__file__).parent.parent / "configs" / "train" / "tiny_cpu.yaml"
    options = Options(resume=name in {"run.json", "trainer_state.json"})
    if not options.resume:
        overrides.append("overwrite_output_dir=true")
    best_by = make_plan(recipe, [*overrides, "overwrite_output_dir=true"]).config.values["metric_for_best_model"]
    record = read_json(training / "run.json")
    record["training"]["config"]["metric_for_best_model"] = best_by
    write_document(training / "run.json", record)

    def use():
        plan = make_plan(recipe, overrides, options)
        plan.problems()
        _begin(plan)

    use()
    assert break_everywhere(read_json(path), partial(write_document, path), use) > 3


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_every_value_of_the_rows_of_a_source_is_used_or_refused(tmp_path, name):
    path = tmp_path / name

    def write(document):
        if name == "rows.json":
            write_document(path, document)
        else:
            path.write_text(f"{json.dumps(document)}\n", encoding="utf-8")

    document = QUESTIONS if name == "rows.json" else QUESTIONS[0]
    assert break_everywhere(document, write, lambda: read_source(str(path), SourceOptions())) > 5
