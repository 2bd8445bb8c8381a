"""What commands write over: never what is read, else only what qsql wrote itself, unless `--overwrite` is given."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from qsql import QsqlError, demo, results
from qsql.engines import EngineSettings
from qsql.evaluate import Settings, evaluate
from qsql.generate import Settings as GenerationSettings
from qsql.generate import generate
from qsql.outputs import is_card, is_page, is_same, seal_card
from qsql.prepare import Settings as PrepareSettings
from qsql.prepare import prepare
from qsql.report.card import CardSettings, write_card
from qsql.report.compare import compare, write_comparison
from qsql.report.page import write_report
from qsql.report.run import read_run
from qsql.train.smollm2 import convert

EXAMPLES = demo.FOLDER / "examples.json"
OVERWRITE = "--overwrite"


@pytest.fixture
def databases(demo_databases, tmp_path):
    return shutil.copytree(demo_databases, tmp_path / "databases")


@pytest.fixture
def gold(tmp_path):
    return shutil.copy(demo.GOLD, tmp_path / "gold.sql")


@pytest.fixture
def predictions(tmp_path):
    return shutil.copy(demo.PREDICTIONS["strong"], tmp_path / "strong.sql")


@pytest.fixture
def settings(databases, gold, predictions):
    return Settings(gold, predictions, databases)


@pytest.fixture
def weak(databases, gold):
    return Settings(gold, demo.PREDICTIONS["weak"], databases)


def contents(folder):
    """Names and contents of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuses(folder, match, work):
    """See that work is refused and that everything stays as it was."""
    before = contents(folder)
    with pytest.raises(QsqlError, match=match) as caught:
        work()
    assert "\nhint: " in str(caught.value)
    assert contents(folder) == before


# Evaluations.


def test_the_same_evaluation_is_written_anew(settings, tmp_path):
    first = evaluate(settings, tmp_path / "run")
    assert evaluate(settings, tmp_path / "run").verdicts == first.verdicts
    # By other paths to the same contents, on other numbers of threads, and by another version of qsql.
    shutil.copytree(settings.database_dir, tmp_path / "copy")
    evaluate(Settings(settings.gold, demo.PREDICTIONS["strong"], tmp_path / "copy", threads=1), tmp_path / "run")
    record = results.run_record(tmp_path / "run")
    record["evaluation"] |= {"fingerprint": "of another version"}
    results.write_json(tmp_path / "run" / "run.json", record)
    evaluate(settings, tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"predictions": demo.PREDICTIONS["weak"]}, "other predictions"),
        ({"gold": EXAMPLES}, "other golds"),
        ({"tables": demo.TABLES}, "another `--table`"),
        ({"etype": "exec"}, "another `etype`"),
        ({"plug_value": True}, "another `plug_value`"),
        ({"keep_distinct": True}, "another `keep_distinct`"),
        ({"credit_empty": False}, "another `credit_empty`"),
        ({"timeout": 7.0}, "another `timeout`"),
        ({"max_steps": 7}, "another `max_steps`"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_evaluation_with_other_inputs_is_refused(settings, tmp_path, change, named):
    evaluate(settings, tmp_path / "run")
    other = Settings(**{**vars(settings), **change})
    refuses(tmp_path / "run", f"holds an evaluation with {named}", lambda: evaluate(other, tmp_path / "run"))
    scored = evaluate(other, tmp_path / "run", overwrite=True)
    assert read_run(tmp_path / "run").summary["all"] == json.loads(json.dumps(scored.summary["all"]))
    refuses(tmp_path / "run", "holds an evaluation with", lambda: evaluate(settings, tmp_path / "run"))


def test_an_evaluation_on_other_databases_is_refused(settings, tmp_path):
    evaluate(settings, tmp_path / "run")
    (settings.database_dir / "seed_bank" / "seed_bankv0.sqlite").unlink()
    refuses(tmp_path / "run", "with other contents of the databases", lambda: evaluate(settings, tmp_path / "run"))


def test_an_unfinished_evaluation_is_not_lost_either(settings, weak, tmp_path):
    out = tmp_path / "run"
    evaluate(settings, out)
    (out / results.SUMMARY).unlink()
    (out / results.VERDICTS).replace(out / results.PARTIAL)
    refuses(out, "holds an evaluation with other predictions", lambda: evaluate(weak, out))
    # One that has scored nothing yet holds nothing.
    (out / results.PARTIAL).write_bytes(b"")
    evaluate(weak, out)


@pytest.mark.parametrize("name", [*results.EVALUATION_FILES, results.RUN])
@pytest.mark.parametrize("content", ["mine", "{}", '["mine"]', '{"all": {}}'])
def test_files_of_something_else_are_not_replaced(settings, tmp_path, name, content):
    out = tmp_path / "run"
    out.mkdir()
    (out / name).write_text(content, encoding="utf-8")
    refuses(out, re.escape(name), lambda: evaluate(settings, out))
    evaluate(settings, out, overwrite=True)
    assert len(read_run(out).items) == 48


def test_empty_files_and_other_names_are_no_obstacle(settings, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for name in (*results.EVALUATION_FILES, results.RUN):
        (out / name).touch()
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    evaluate(settings, out)
    assert (out / "notes.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["verdicts.jsonl", "summary.json", "run.json", "examples.jsonl"])
@pytest.mark.parametrize("link", [os.link, os.symlink, None], ids=["hard link", "link", "itself"])
def test_what_an_evaluation_reads_is_never_replaced(settings, tmp_path, name, link):
    out = tmp_path / "run"
    out.mkdir()
    given = settings
    if link is not None:
        link(settings.predictions, out / name)
    elif name.endswith(".json"):
        given = Settings(shutil.copy(EXAMPLES, out / name), settings.predictions, settings.database_dir)
    else:
        lines = [{"id": number, "sql": "SELECT 1"} for number in range(48)]
        (out / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        given = Settings(settings.gold, out / name, settings.database_dir)
    for overwrite in (False, True):
        refuses(tmp_path, "which is read|is read", lambda given=given, overwrite=overwrite: evaluate(
            given, out, overwrite=overwrite
        ))  # fmt: skip


def test_devices_and_folders_are_no_files_to_write(settings, tmp_path):
    (tmp_path / "run" / "summary.json").mkdir(parents=True)
    refuses(tmp_path, r"summary\.json`: it is a directory, not a file", lambda: evaluate(settings, tmp_path / "run"))
    (tmp_path / "other").mkdir()
    os.mkfifo(tmp_path / "other" / "verdicts.jsonl")
    refuses(tmp_path, "it is a (pipe|device), not a file", lambda: evaluate(settings, tmp_path / "other"))


# Generations, and evaluations beside them.


@pytest.fixture
def generation():
    return GenerationSettings(EXAMPLES, demo.TABLES, engine=EngineSettings(engine="gold"))


def test_a_run_of_predictions_is_evaluated_in_place(generation, databases, gold, weak, tmp_path):
    out = tmp_path / "run"
    generate(generation, out)
    own = Settings(gold, out / results.PREDICTIONS, databases)
    for _ in range(2):
        evaluate(own, out)
        generate(generation, out)
    refuses(out, "holds other predictions than", lambda: evaluate(weak, out))
    refuses(out, "holds other predictions than", lambda: evaluate(weak, out, overwrite=True))
    # The same predictions from elsewhere are its own.
    shutil.copy(out / results.PREDICTIONS, tmp_path / "copy.jsonl")
    evaluate(Settings(gold, tmp_path / "copy.jsonl", databases), out)


def test_other_predictions_are_not_replaced(generation, databases, gold, tmp_path):
    out = tmp_path / "run"
    generate(generation, out)
    evaluate(Settings(gold, out / results.PREDICTIONS, databases), out)
    other = GenerationSettings(EXAMPLES, demo.TABLES, limit=7, engine=EngineSettings(engine="gold"))
    refuses(out, "predictions of other questions", lambda: generate(other, out))
    assert len(generate(other, out, overwrite=True).predictions) == 7
    # The evaluation was one of the predictions that are gone.
    assert sorted(path.name for path in out.iterdir()) == [results.PREDICTIONS, results.RUN]
    assert "evaluation" not in results.run_record(out)


@pytest.mark.parametrize("name", [results.PREDICTIONS, results.REPAIRS, results.RUN])
@pytest.mark.parametrize("content", ["mine", "SELECT 1\n", '{"sql": "SELECT 1"}\n', "[1]"])
def test_predictions_of_something_else_are_not_replaced(generation, tmp_path, name, content):
    out = tmp_path / "run"
    out.mkdir()
    (out / name).write_text(content, encoding="utf-8")
    refuses(out, re.escape(name), lambda: generate(generation, out))
    assert len(generate(generation, out, overwrite=True).predictions) == 48


def test_predictions_do_not_join_an_evaluation_of_others(generation, settings, tmp_path):
    evaluate(settings, tmp_path / "run")
    refuses(tmp_path, "an evaluation of other predictions", lambda: generate(generation, tmp_path / "run"))


def test_questions_are_never_replaced(tmp_path):
    lines = [{"question": "How many?", "schema": "CREATE TABLE t (a)", "query": "SELECT count(*) FROM t"}]
    out = tmp_path / "run"
    out.mkdir()
    data = out / results.PREDICTIONS
    for link in (None, "questions.jsonl"):
        if link is not None:
            (tmp_path / link).symlink_to(data)
        data.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        given = GenerationSettings(tmp_path / link if link else data, engine=EngineSettings(engine="gold"))
        refuses(tmp_path, "is read", lambda given=given: generate(given, out))
        refuses(tmp_path, "is read", lambda given=given: generate(given, out, overwrite=True))


# Pages and cards.


@pytest.fixture
def run(settings, tmp_path):
    evaluate(settings, tmp_path / "run")
    return read_run(tmp_path / "run")


def page(run, path, **options):
    return write_report(run, path, **options)


def comparison(run, path, **options):
    return write_comparison([run, run], compare([run, run]), path, **options)


def card(run, path, **options):
    return write_card(run, None, CardSettings(), path, **options)


WRITERS = pytest.mark.parametrize("write", [page, comparison, card], ids=lambda write: write.__name__)


@WRITERS
def test_what_was_written_is_written_again(run, tmp_path, write):
    path = tmp_path / "out"
    path.touch()
    for _ in range(2):
        write(run, path)
    assert (is_card if write is card else is_page)(path)


def test_pages_take_each_others_place_and_not_that_of_cards(run, tmp_path):
    page(run, tmp_path / "page.html")
    comparison(run, tmp_path / "page.html")
    card(run, tmp_path / "README.md")
    refuses(tmp_path, "exists and is no page", lambda: page(run, tmp_path / "README.md"))
    refuses(tmp_path, "exists and is no card", lambda: card(run, tmp_path / "page.html"))


def test_a_card_that_was_edited_is_not_replaced(run, tmp_path):
    path = tmp_path / "README.md"
    card(run, path)
    path.write_text(path.read_text(encoding="utf-8").replace("missing", "by hand", 1), encoding="utf-8")
    refuses(tmp_path, "is no card as qsql wrote it", lambda: card(run, path))
    card(run, path, overwrite=True)
    path.write_text(path.read_text(encoding="utf-8") + "More.\n", encoding="utf-8")
    refuses(tmp_path, "is no card as qsql wrote it", lambda: card(run, path))


def test_a_seal_is_of_the_whole_text():
    sealed = seal_card("Text\n")
    assert sealed.startswith("Text\n")
    assert seal_card(sealed) != sealed


@WRITERS
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_of_a_run_and_nothing_that_it_read_is_replaced(run, settings, tmp_path, write, overwrite):
    database = settings.database_dir / "seed_bank" / "seed_bank.sqlite"
    own = list(run.directory.iterdir())
    assert len(own) == 4
    for victim in [*own, settings.gold, settings.predictions, database]:
        names = {
            "itself": victim,
            "relative": victim.parent / ".." / victim.parent.name / victim.name,
            "link": tmp_path / "link",
            "folder": tmp_path / "folder" / victim.name,
            "hard link": tmp_path / "hard",
        }
        names["link"].symlink_to(victim)
        names["folder"].parent.symlink_to(victim.parent, target_is_directory=True)
        os.link(victim, names["hard link"])
        for name, path in names.items():
            before = victim.read_bytes()
            # By a second name a database is not known for one. It is some other file, and the database stays.
            if (name, victim) == ("hard link", database) and overwrite:
                write(run, path, overwrite=True)
            else:
                with pytest.raises(QsqlError, match=r"which is read|is read|exists and is no"):
                    write(run, path, overwrite=overwrite)
            assert victim.read_bytes() == before
        for name in ("link", "folder", "hard link"):
            (names[name].parent if name == "folder" else names[name]).unlink()
    assert len(read_run(run.directory).items) == 48


@WRITERS
def test_no_page_takes_a_name_that_a_run_needs(run, tmp_path, write):
    for name in (results.PARTIAL, results.PREDICTIONS, results.REPAIRS, "Verdicts.JSONL.partial"):
        for overwrite in (False, True):
            refuses(tmp_path, "is read", lambda name=name, overwrite=overwrite: write(
                run, run.directory / name, overwrite=overwrite
            ))  # fmt: skip
    write(run, run.directory / "report.html")
    write(run, run.directory / "report.html")


@WRITERS
def test_other_files_take_an_option(run, tmp_path, write):
    path = tmp_path / "mine"
    for content in (b"mine", b"<html>mine</html>", b"\xff\xfe", b"<!-- qsql card -->\n"):
        path.write_bytes(content)
        refuses(tmp_path, r"exists and is no .* as qsql wrote it\nhint: .*--overwrite", lambda: write(run, path))
    link = tmp_path / "link"
    link.symlink_to(path)
    refuses(tmp_path, "exists and is no", lambda: write(run, link))
    write(run, link, overwrite=True)
    # The link is one still.
    assert link.is_symlink()
    assert (is_card if write is card else is_page)(path)


@WRITERS
def test_devices_folders_and_pipes_are_no_files(run, tmp_path, write):
    os.mkfifo(tmp_path / "pipe")
    kinds = {Path("/dev/null"): "a device", tmp_path / "pipe": "a pipe", tmp_path: "a directory"}
    for path, kind in kinds.items():
        for overwrite in (False, True):
            with pytest.raises(QsqlError, match=f"cannot write .*: it is {kind}, not a file\nhint: "):
                write(run, path, overwrite=overwrite)


def test_paths_are_the_same_whatever_leads_to_them(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert is_same(tmp_path / "a" / "file", tmp_path / "b" / ".." / "a" / "file")
    assert is_same(tmp_path / "a" / "new", tmp_path / "b" / "New")
    assert not is_same(tmp_path / "a" / "file", tmp_path / "a" / "new")
    assert not is_same(tmp_path / "absent" / "file", tmp_path / "missing" / "file")


# Data sets.


def test_a_data_set_takes_the_place_of_one_as_it_was_prepared(tmp_path):
    rows = [{"question": f"q{n}", "query": "SELECT a FROM t", "schema": f"CREATE TABLE t (a, b{n})"} for n in range(4)]
    source = tmp_path / "rows.json"
    source.write_text(json.dumps(rows), encoding="utf-8")
    given, out = PrepareSettings(sources=[str(source)], validation=0), tmp_path / "out"
    for seed in range(2):
        prepare(PrepareSettings(sources=[str(source)], validation=0, seed=seed), out)
    (out / "train.json").write_text("[]", encoding="utf-8")
    refuses(out, r"train\.json` was changed after it was prepared", lambda: prepare(given, out))
    prepare(given, out, overwrite=True)
    (out / "train.json").unlink()
    prepare(given, out)
    # Neither is lost by being there under another name, nor by an option.
    (tmp_path / "link").symlink_to(out / "train.json")
    for overwrite in (False, True):
        again = PrepareSettings(sources=[str(tmp_path / "link")], validation=0)
        refuses(out, "is read", lambda again=again, overwrite=overwrite: prepare(again, out, overwrite=overwrite))
    shutil.rmtree(out)
    out.write_text("mine", encoding="utf-8")
    refuses(tmp_path, "holds something else", lambda: prepare(given, out))
    prepare(given, out, overwrite=True)
    assert (out / "report.json").is_file()
    assert not list(tmp_path.glob(".out*"))


# Models.


def test_weights_are_written_into_an_empty_folder(tmp_path):
    (tmp_path / "weights.gguf").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_text("mine", encoding="utf-8")
    refuses(tmp_path, "is not empty", lambda: convert(tmp_path / "weights.gguf", tmp_path / "model"))
    refuses(tmp_path, "is no folder", lambda: convert(tmp_path / "weights.gguf", tmp_path / "weights.gguf"))


# The command line.


@pytest.mark.parametrize("name", ["eval", "generate", "report", "compare", "card"])
def test_commands_refuse_and_take_the_option(run, settings, tmp_path, run_qsql, name):
    out, mine = tmp_path / "out", tmp_path / "out" / "summary.json"
    if name in {"report", "compare", "card"}:
        mine = out = tmp_path / "mine.html"
    elif name == "generate":
        mine = out / "predictions.jsonl"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine", encoding="utf-8")
    command = {
        "eval": ["--gold", settings.gold, "--pred", settings.predictions, "--db", settings.database_dir, "--out", out],
        "generate": ["--data", EXAMPLES, "--tables", demo.TABLES, "--engine", "gold", "--out", out],
        "report": [run.directory, "--html", out],
        "compare": [run.directory, run.directory, "--html", out],
        "card": [run.directory, "--out", out],
    }[name]
    done = run_qsql(name, *command)
    assert done.returncode == 1
    assert re.match(f"error: `{mine}` exists,? and ", done.stderr)
    assert re.search(r"\nhint: .*`--overwrite`", done.stderr)
    assert mine.read_text(encoding="utf-8") == "mine"
    done = run_qsql(name, *command, OVERWRITE)
    assert done.returncode == 0, done.stderr
    assert mine.read_text(encoding="utf-8") != "mine"
    assert run_qsql(name, *command).returncode == 0


def test_the_demo_does_not_replace_runs_of_others(settings, tmp_path, run_qsql):
    evaluate(settings, tmp_path / "demo" / "strong")
    before = contents(tmp_path / "demo" / "strong")
    done = run_qsql("demo", tmp_path / "demo")
    assert done.returncode == 1
    assert "holds an evaluation with" in done.stderr
    assert contents(tmp_path / "demo" / "strong") == before
