"""Generation without a model: what it reads, what it writes, and what a run that was stopped loses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from chat_server import answers

from qsql import QsqlError, demo
from qsql.config import load_config
from qsql.engines import Completion, EngineSettings
from qsql.engines.gold import GoldEngine
from qsql.generate import generate
from qsql.generate.questions import read_questions
from qsql.generate.selection import choose, find_faults
from qsql.generate.settings import KEYS, Settings, settings_from
from qsql.prompt import build_prompt

ROOT = Path(__file__).parent.parent
EXAMPLES = demo.FOLDER / "examples.json"
GOLD = EngineSettings(engine="gold")
SCHEMA = "CREATE TABLE singer (id INTEGER, name TEXT, age INTEGER);"


def lines(directory, name="predictions.jsonl"):
    return [json.loads(line) for line in (directory / name).read_text(encoding="utf-8").splitlines()]


def outcome(directory):
    return json.loads((directory / "run.json").read_text(encoding="utf-8"))["generation"]["outcome"]


def golds():
    return [example["query"] for example in json.loads(EXAMPLES.read_text(encoding="utf-8"))]


@pytest.fixture
def questions(tmp_path):
    """A file of questions that all have the same small schema."""

    def write(*entries, name="questions.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
        return path

    return write


@pytest.fixture
def scripted(monkeypatch):
    """Engines that answer as a test says: by prompt, and by temperature. Breaks off behind so many batches, if told."""

    class Scripted(GoldEngine):
        break_after = None
        calls = ()

        def generate(self, requests, decoding):
            type(self).calls += ((tuple(request.key for request in requests), decoding),)
            for place, request in enumerate(requests):
                if place == self.break_after:
                    raise KeyboardInterrupt
                texts = self.answer(request, decoding)
                yield [(place, [Completion(text, len(text.split()), "stop", 0.25) for text in texts])]

    monkeypatch.setattr("qsql.generate.make_engine", lambda _: Scripted())
    return Scripted


# Inputs


def test_spider_questions_get_schemas_of_tables_or_databases(demo_databases):
    by_tables = read_questions(EXAMPLES, tables=demo.TABLES)
    by_databases = read_questions(EXAMPLES, database_dir=demo_databases)
    assert [question.id for question in by_tables] == [str(number) for number in range(48)]
    assert by_tables[0].prompt == build_prompt(by_tables[0].schema, "How many species are listed as Endangered?")
    assert by_tables[0].schema.startswith("CREATE TABLE ")
    assert [question.gold for question in by_databases] == golds()


def test_a_prepared_data_set_is_read_as_it_is(tmp_path):
    entry = {
        "instruction": "the very prompt",
        "input": "",
        "output": "SELECT 1",
        "id": "x7",
        "db_id": "d",
        "question": "one?",
        "schema": SCHEMA,
    }
    (tmp_path / "validation.json").write_text(json.dumps([entry]), encoding="utf-8")
    info = {"validation": {"file_name": "validation.json"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    (of_folder,) = read_questions(tmp_path)
    (of_file,) = read_questions(tmp_path / "validation.json")
    assert of_folder == of_file
    assert (of_folder.id, of_folder.prompt, of_folder.gold) == ("x7", "the very prompt", "SELECT 1")
    with pytest.raises(QsqlError, match=r"has no data set `test`\nhint: it has `validation`"):
        read_questions(tmp_path, split="test")


def test_json_lines_bring_their_schema_or_database(demo_databases, questions):
    link = shutil.copy(demo_databases / "seed_bank" / "seed_bank.sqlite", questions().parent / "seeds.sqlite")
    path = questions({"question": "a?", "schema": SCHEMA, "id": 5}, {"question": "b?", "db": Path(link).name})
    first, second = read_questions(path)
    assert (first.id, first.schema, first.db_id, first.gold) == ("5", SCHEMA, "", None)
    assert (second.id, second.db_id) == ("1", "seeds")
    assert second.schema.startswith("CREATE TABLE ")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"schema": SCHEMA}], "line 1 has no `question`"),
        ([{"question": "a?", "schema": SCHEMA}, {"question": "b?"}], "line 2 has no database"),
        ([{"question": "a?", "db_id": "d"}], "nothing to read their schemas from\nhint: give `--tables"),
        ([{"question": 5, "schema": SCHEMA}], "line 1: `question` is the number 5, not a text or null"),
        ([["question"]], "line 1: it is a list of 1, not an object"),
        ([{"question": "a?", "schema": SCHEMA, "id": "1"}] * 2, "the id `1` is that of line 1 and of line 2"),
        ([{"question": "a?", "db": "missing.sqlite"}], r"missing\.sqlite"),
        ([{"instruction": "a?", "output": ""}], "line 1 has an `instruction` but no `schema`"),
        ([], "no questions in"),
    ],
)
def test_questions_that_cannot_be_used_are_named(questions, entries, message):
    with pytest.raises(QsqlError, match=message):
        read_questions(questions(*entries))


def test_questions_may_hold_any_text(tmp_path):
    path = tmp_path / "odd.jsonl"
    schema = "CREATE TABLE t (a INTEGER);"
    odd = [{"question": "One\u2028of\x85them?", "schema": schema}, {"question": "\ud800?", "schema": schema}]
    path.write_text(
        json.dumps(odd[0], ensure_ascii=False) + "\n" + json.dumps(odd[1]) + "\n", encoding="utf-8", newline="\n"
    )
    questions = read_questions(path)
    assert [question.question for question in questions] == ["One\u2028of\x85them?", "\ufffd?"]
    assert len({question.prompt_hash() for question in questions}) == 2


def test_files_that_cannot_be_used_are_named(tmp_path, questions):
    with pytest.raises(QsqlError, match=r"cannot read .*nothing\.json"):
        read_questions(tmp_path / "nothing.json")
    (tmp_path / "half.jsonl").write_text('{"question": "a?"}\n{"ques', encoding="utf-8")
    with pytest.raises(QsqlError, match="line 2 is not JSON"):
        read_questions(tmp_path / "half.jsonl")
    with pytest.raises(QsqlError, match=r"no prepared data set: it has no `dataset_info\.json`"):
        read_questions(tmp_path)
    (tmp_path / "object.json").write_text('{"question": "a?"}', encoding="utf-8")
    with pytest.raises(QsqlError, match="is not a list\nhint: questions are a JSON list, or JSON lines"):
        read_questions(tmp_path / "object.json")
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "caf\xe9?"}')
    with pytest.raises(QsqlError, match=r"latin\.jsonl` line 1 is not valid UTF-8"):
        read_questions(tmp_path / "latin.jsonl")
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "dataset_info.json").write_text('{"validation": {"file_name": "gone.json"}}', encoding="utf-8")
    with pytest.raises(QsqlError, match=r"names `gone\.json`, which is not there"):
        read_questions(prepared, split="validation")
    unknown = questions({"question": "a?", "db_id": "other"})
    with pytest.raises(QsqlError, match="line 1: there is no database `other`"):
        read_questions(unknown, tables=demo.TABLES)


# Settings


def test_every_shipped_configuration_is_valid():
    files = sorted((ROOT / "configs" / "generate").glob("*.yaml"))
    assert files
    for file in files:
        settings, _ = settings_from(load_config(file, [], KEYS, "generation"))
        # Whether a model may run code is no key: no file can say so.
        assert settings.record().keys() - KEYS.keys() == {"trust_remote_code"}


def test_settings_say_what_does_not_go_together(tmp_path):
    for changes, message in (
        ({"self_consistency": 8}, "no databases to run on"),
        ({"self_consistency": 1, "db": tmp_path}, "2 samples at least"),
        ({"self_consistency": 8, "db": tmp_path, "repair": True}, "leave one of them out"),
        ({"limit": 0}, "limit is 0"),
        ({"repair": True, "repair_temperature": 0}, "8 samples at temperature 0"),
    ):
        with pytest.raises(QsqlError, match=message):
            Settings(EXAMPLES, **changes)


def test_several_samples_are_drawn_warm_unless_told_otherwise(tmp_path):
    def decoding(*overrides):
        config = load_config(tmp_path / "x.yaml", ["data=x", *overrides], KEYS, "generation")
        return settings_from(config)[0].decoding

    (tmp_path / "x.yaml").touch()
    assert (decoding().temperature, decoding().samples) == (0.0, 1)
    assert (decoding("samples=4").temperature, decoding("samples=4").top_p) == (0.7, 0.95)
    assert decoding("self_consistency=8", "db=d", "temperature=1").temperature == 1
    assert decoding("self_consistency=8", "db=d").samples == 8


# Runs


def test_predictions_come_in_order_with_all_that_is_known(tmp_path):
    generate(Settings(EXAMPLES, demo.TABLES, engine=GOLD), tmp_path / "run", ["qsql", "generate"])
    found = lines(tmp_path / "run")
    assert [line["index"] for line in found] == list(range(48))
    assert [line["sql"] for line in found] == golds()
    assert {line["error"] for line in found} == {None}
    assert found[0]["tokens"] == len(golds()[0].split())
    assert len(found[0]["prompt_sha256"]) == 64
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["generation"]
    assert run["argv"] == ["qsql", "generate"]
    assert run["outcome"]["questions"] == run["outcome"]["compiling"] == 48
    assert run["settings"]["engine"] == "gold"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["predictions.jsonl", "run.json"]


def test_a_stopped_run_goes_on_and_leaves_the_same_file(tmp_path, scripted):
    scripted.answer = lambda _, request, __: [request.answer]
    settings = Settings(EXAMPLES, demo.TABLES, engine=GOLD)
    generate(settings, tmp_path / "whole")
    scripted.break_after, scripted.calls = 20, ()
    with pytest.raises(KeyboardInterrupt):
        generate(settings, tmp_path / "run")
    assert len(lines(tmp_path / "run")) == 20
    with (tmp_path / "run" / "predictions.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"index": 20, "id": "20", "sq')  # what a kill leaves of a line
    scripted.break_after, scripted.calls = None, ()
    generate(settings, tmp_path / "run")
    assert [keys for keys, _ in scripted.calls] == [tuple(str(number) for number in range(20, 48))]
    whole = (tmp_path / "whole" / "predictions.jsonl").read_bytes()
    assert (tmp_path / "run" / "predictions.jsonl").read_bytes() == whole
    assert outcome(tmp_path / "run")["resumed"] == 20


def test_a_finished_run_asks_no_engine(tmp_path, scripted):
    scripted.answer = lambda _, request, __: [request.answer]
    settings = Settings(EXAMPLES, demo.TABLES, engine=GOLD)
    generate(settings, tmp_path / "run")
    before = lines(tmp_path / "run")
    scripted.calls = ()
    generate(settings, tmp_path / "run")
    assert scripted.calls == ()
    assert lines(tmp_path / "run") == before


def test_predictions_of_another_run_are_not_overwritten(tmp_path):
    generate(Settings(EXAMPLES, demo.TABLES, engine=GOLD), tmp_path / "run")
    before = (tmp_path / "run" / "predictions.jsonl").read_bytes()
    with pytest.raises(QsqlError, match=r"other settings\nhint: choose another `--out`"):
        generate(Settings(EXAMPLES, demo.TABLES, engine=GOLD, limit=3), tmp_path / "run")
    assert (tmp_path / "run" / "predictions.jsonl").read_bytes() == before


def test_a_run_that_failed_at_once_does_not_block_its_folder(tmp_path, questions):
    data = questions({"question": "a?", "schema": SCHEMA})
    with pytest.raises(QsqlError, match="has no gold"):
        generate(Settings(data, engine=GOLD), tmp_path / "run")
    generate(Settings(EXAMPLES, demo.TABLES, engine=GOLD), tmp_path / "run")
    assert len(lines(tmp_path / "run")) == 48


def test_faults_of_queries_are_in_their_lines(tmp_path, questions, scripted):
    answers = {
        "a?": "SELECT nam FROM singer",
        "b?": "I cannot tell.",
        "c?": "```sql\nSELECT name FROM singer;\n```",
        "d?": "SELECT name FROM singers",
    }
    scripted.answer = lambda _, request, __: [next(text for ask, text in answers.items() if ask in request.prompt)]
    data = questions(*({"question": question, "schema": SCHEMA} for question in answers))
    found = generate(Settings(data), tmp_path / "run").predictions
    assert [(line["error"], line["error_name"]) for line in found] == [
        ("no_such_column", "nam"),
        ("no_sql", None),
        (None, None),
        ("no_such_table", "singers"),
    ]
    assert [line["sql"] for line in found][1:3] == ["", "SELECT name FROM singer"]
    assert outcome(tmp_path / "run")["errors"] == {"no_such_column": 1, "no_sql": 1, "no_such_table": 1}


def test_repair_samples_only_what_does_not_compile(tmp_path, questions, scripted):
    right, wrong = "SELECT name FROM singer", "SELECT nam FROM singer"
    samples = [wrong, right, "SELECT age FROM singer", "select singer.name from singer", wrong]

    def answer(_, request, decoding):
        if decoding.temperature == 0:
            return [right if "a?" in request.prompt else wrong]
        return samples if "b?" in request.prompt else [wrong] * 5

    scripted.answer = answer
    data = questions(*({"question": question, "schema": SCHEMA} for question in ("a?", "b?", "c?")))
    settings = Settings(data, repair=True, repair_samples=5)
    first, second, third = generate(settings, tmp_path / "run").predictions
    assert [keys for keys, _ in scripted.calls] == [("0", "1", "2"), ("1", "2")]
    drawn = scripted.calls[1][1]
    assert (drawn.samples, drawn.temperature, drawn.top_p) == (5, 0.7, 0.95)
    assert (first["sql"], first["repair"]) == (right, None)
    # Two texts of one canonical form outvote a third query.
    assert (second["sql"], second["error"]) == (right, None)
    assert {key: second["repair"][key] for key in ("chosen", "votes", "compiling", "ran")} == {
        "chosen": 1,
        "votes": 2,
        "compiling": 3,
        "ran": None,
    }
    assert second["repair"]["before"]["error_name"] == "nam"
    assert second["repair"]["seconds"] == 5 * 0.25
    assert (third["sql"], third["error"], third["repair"]["chosen"]) == (wrong, "no_such_column", None)
    assert outcome(tmp_path / "run")["repair"] == {
        "questions": 2,
        "repaired": 1,
        "completions": 10,
        "tokens": second["repair"]["tokens"] + third["repair"]["tokens"],
        "seconds": 2.5,
    }


def test_a_repair_that_was_stopped_goes_on(tmp_path, questions, scripted):
    def answer(_, __, decoding):
        return ["SELECT nam FROM singer"] if decoding.temperature == 0 else ["SELECT name FROM singer"] * 8

    class Breaking(scripted):
        def generate(self, requests, decoding):
            self.break_after = 2 if decoding.temperature else None
            return super().generate(requests, decoding)

    scripted.answer = answer
    data = questions(*({"question": f"{number}?", "schema": SCHEMA} for number in range(5)))
    settings = Settings(data, repair=True)
    whole = generate(settings, tmp_path / "whole").predictions
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qsql.generate.make_engine", lambda _: Breaking())
        with pytest.raises(KeyboardInterrupt):
            generate(settings, tmp_path / "run")
    assert len(lines(tmp_path / "run")) == 5
    assert len(lines(tmp_path / "run", "repairs.jsonl")) == 2
    scripted.calls = ()
    assert generate(settings, tmp_path / "run").predictions == whole
    assert [keys for keys, _ in scripted.calls] == [("2", "3", "4")]
    assert not (tmp_path / "run" / "repairs.jsonl").exists()


def test_self_consistency_takes_the_most_common_result(tmp_path, demo_databases, scripted):
    votes = [
        "SELECT 5",
        "SELECT count(*) FROM species",
        "SELECT nothing_there FROM species",
        "SELECT count(species_id) FROM species",
        "SELECT 6",
    ]
    scripted.answer = lambda _, request, __: votes if request.key == "0" else [request.answer] * 5
    settings = settings_from(
        load_config(
            None,
            [f"data={EXAMPLES}", f"tables={demo.TABLES}", f"db={demo_databases}", "self_consistency=5", "limit=3"],
            KEYS,
            "generation",
        )
    )[0]
    first, *others = generate(settings, tmp_path / "run").predictions
    assert first["sql"] == votes[1]
    assert first["vote"] == {"chosen": 1, "votes": 2, "compiling": 4, "ran": 4}
    assert [sample["sql"] for sample in first["samples"]] == votes
    assert [line["vote"]["votes"] for line in others] == [5, 5]
    assert [line["sql"] for line in others] == golds()[1:3]


def test_all_samples_are_kept_and_the_first_is_the_prediction(tmp_path, questions, scripted):
    scripted.answer = lambda *_: ["SELECT 1", "SELECT 2"]
    config = load_config(
        None, [f"data={questions({'question': 'a?', 'schema': SCHEMA})}", "samples=2"], KEYS, "generation"
    )
    (line,) = generate(settings_from(config)[0], tmp_path / "run").predictions
    assert (line["sql"], [sample["sql"] for sample in line["samples"]]) == ("SELECT 1", ["SELECT 1", "SELECT 2"])
    assert (line["tokens"], line["seconds"]) == (4, 0.5)


def test_databases_are_looked_for_before_the_model_is_loaded(tmp_path, scripted):
    scripted.answer = None
    with pytest.raises(QsqlError, match="database `seed_bank` not found"):
        generate(Settings(EXAMPLES, demo.TABLES, tmp_path, repair=True), tmp_path / "run")
    assert scripted.calls == ()


def test_votes_go_to_the_first_of_equals():
    (choice,) = choose([["SELECT 1", "SELECT 2", "", "SELECT 2", "SELECT 1"]], [SCHEMA], [""], None)
    assert (choice.chosen, choice.votes, choice.compiling) == (0, 2, 4)
    (nothing,) = choose([["SELECT x", ""]], [SCHEMA], [""], None)
    assert (nothing.chosen, nothing.votes, nothing.compiling) == (None, 0, 0)
    assert find_faults([SCHEMA], ["SELECT name FROM singer"]) == [None]


# The command line


def test_the_loop_runs_without_a_model(run_qsql, demo_databases, tmp_path):
    inputs = ("--data", EXAMPLES, "--tables", demo.TABLES)
    done = run_qsql("generate", *inputs, "--engine", "gold", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [f"48 predictions in `{tmp_path / 'run'}`", "48 compile (100.0%)"]
    scored = run_qsql("eval", tmp_path / "run", "--gold", EXAMPLES, "--db", demo_databases, "--table", demo.TABLES)
    assert scored.returncode == 0, scored.stderr
    run = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert {"generation", "evaluation"} <= run.keys()
    assert json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))["all"]["execution"] == 1


def test_a_configuration_is_overridden_by_settings_and_options(run_qsql, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"data: {EXAMPLES}\ntables: {demo.TABLES}\nengine: gold\nlimit: 3\nseed: 1\n", encoding="utf-8")
    done = run_qsql("generate", config, "seed=2", "--limit", "4", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["generation"]["settings"]
    assert (settings["limit"], settings["seed"], len(lines(tmp_path / "run"))) == (4, 2, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tempratur=1"], "did you mean `temperature`?"),
        (["--data", "x.json"], "there is no run directory"),
        (["--out", "x"], "there are no questions"),
        (["--data", EXAMPLES, "--tables", demo.TABLES, "--out", "OUT"], "the engine `transformers` needs"),
        (["missing.yaml", "--out", "x"], "missing.yaml"),
    ],
)
def test_wrong_usage_is_explained(run_qsql, tmp_path, arguments, message):
    done = run_qsql("generate", *(tmp_path / "run" if argument == "OUT" else argument for argument in arguments))
    assert done.returncode == 1
    assert message in done.stderr
    assert "hint: " in done.stderr


def ask(run_qsql, database, url, *arguments):
    return run_qsql(
        *("ask", "How many species are there?", "--db", database, "--engine", "openai", "--model", "m"),
        *("--base-url", url, *arguments),
    )


def test_ask_prints_the_query_and_with_run_the_rows(run_qsql, demo_databases):
    database = demo_databases / "seed_bank" / "seed_bank.sqlite"
    with answers(["Sure:\n```sql\nSELECT species_id AS number, '[b]\x1b[31m' FROM species ORDER BY 1;\n```"]) as url:
        plain = ask(run_qsql, database, url)
        done = ask(run_qsql, database, url, "--run", "--max-rows", "2")
    assert plain.stdout == "SELECT species_id AS number, '[b]\x1b[31m' FROM species ORDER BY 1\n"
    assert plain.stderr == ""
    _, header, *rows = done.stdout.splitlines()
    assert header.split()[0] == "number"
    assert [row.split() for row in rows] == [["1", r"[b]\x1b[31m"], ["2", r"[b]\x1b[31m"]]
    assert done.stderr == "the first 2 rows\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT specis_id FROM species", "no such column: specis_id; the database has `species.species_id`"),
        ("SELECT 1 FROM specie", "no such table: specie; the database has `species`"),
        ("I am sorry, Dave.", "the model gave no query; it said: I am sorry, Dave."),
        ("", "the model said nothing"),
    ],
)
def test_ask_explains_what_is_wrong(run_qsql, demo_databases, text, message):
    with answers([text]) as url:
        done = ask(run_qsql, demo_databases / "seed_bank" / "seed_bank.sqlite", url, "--run")
    assert done.returncode == 1
    assert message in done.stderr
    assert "hint: " in done.stderr


def test_ask_repairs_where_it_is_told_to(run_qsql, demo_databases):
    database = demo_databases / "seed_bank" / "seed_bank.sqlite"
    wrong, right = "SELECT specis_id FROM species", "SELECT count(*) FROM species"
    with answers([wrong, wrong, right]) as url:
        done = ask(run_qsql, database, url, "--repair")
    assert (done.returncode, done.stdout) == (0, f"{right}\n")


def test_ask_never_writes(run_qsql, demo_databases):
    database = demo_databases / "seed_bank" / "seed_bank.sqlite"
    before = database.read_bytes()
    with answers(["DELETE FROM species"]) as url:
        done = ask(run_qsql, database, url, "--run")
    assert done.returncode == 1
    assert database.read_bytes() == before


def test_ask_writes_cells_as_sql_does(run_qsql, demo_databases):
    database = demo_databases / "seed_bank" / "seed_bank.sqlite"
    with answers([f"SELECT NULL AS a, x'00ff' AS b, x'{'ab' * 40}' AS c"]) as url:
        done = ask(run_qsql, database, url, "--run")
        narrow = run_qsql("ask", " ", "--db", database, "--engine", "openai", "--model", "m", "--base-url", url)
    row = "".join(done.stdout.split("\n", 2)[2].split())
    assert row.replace("NULL", "", 1).startswith("x'00ff'x'")
    assert f"x'{'ab' * 32}...'" in row
    assert done.stderr == "1 row\n"
    assert (narrow.returncode, narrow.stderr.splitlines()[0]) == (1, "error: there is no question")


def test_ask_needs_a_database(run_qsql, tmp_path):
    done = ask(run_qsql, tmp_path / "nothing.sqlite", "http://127.0.0.1:9/v1")
    assert done.returncode == 1
    assert "nothing.sqlite" in done.stderr
