"""Preparation of training data: sources, splits, what is written, and what people see of it."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import planted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from processes import started, stop

from qsql import QsqlError, demo
from qsql.prepare import Settings, load_settings, prepare, read_report
from qsql.prepare.likeness import SchemaSignature
from qsql.prepare.sources import SourceOptions, read_source
from qsql.prompt import INSTRUCTION, build_prompt
from qsql.schema_text import SchemaStyle, read_schemas

CONFIG = Path(__file__).parent.parent / "configs" / "data" / "spider_bird.yaml"
ROWS = [
    {"schema": "CREATE TABLE t (a INTEGER);", "question": "How many, all told?", "query": "SELECT count(*) FROM t;"},
    {
        "schema": "CREATE TABLE u (b TEXT);",
        "question": 'Which "b", sorted?\nAll.',
        "query": "SELECT b FROM u ORDER BY b",
    },
]


@pytest.fixture
def examples():
    """The examples of the demo, which have a `db_id` and no schema."""
    return json.loads((demo.GOLD.parent / "examples.json").read_text(encoding="utf-8"))


@pytest.fixture
def spider_folder(tmp_path, examples):
    """A folder laid out as Spider's, made of the demo."""
    folder = tmp_path / "spider"
    folder.mkdir()
    (folder / "train_spider.json").write_text(json.dumps(examples[:40]))
    (folder / "train_others.json").write_text(json.dumps(examples[40:]))
    (folder / "tables.json").write_bytes(demo.TABLES.read_bytes())
    demo.build(folder / "database")
    return folder


def write(path, rows):
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("\n\n".join(map(json.dumps, rows)))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.table({name: [row[name] for row in rows] for name in rows[0]}), path)
    return path


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
def test_other_ends_of_lines_are_text(tmp_path, suffix):
    rows = [ROWS[0] | {"question": "Which\u2028one\x85of\u2029them\x0b?"}]
    path = write(tmp_path / f"rows{suffix}", rows)
    if suffix == ".jsonl":
        path.write_text(json.dumps(rows[0], ensure_ascii=False) + "\n", encoding="utf-8")
    assert [row.question for row in read_source(str(path), SourceOptions()).rows] == [rows[0]["question"]]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
def test_files_of_every_kind_are_read_alike(tmp_path, suffix):
    source = read_source(str(write(tmp_path / f"rows{suffix}", ROWS)), SourceOptions())
    assert [(row.schema, row.question, row.query) for row in source.rows] == [tuple(row.values()) for row in ROWS]
    assert source.inputs == {f"rows{suffix}": hashlib.sha256((tmp_path / f"rows{suffix}").read_bytes()).hexdigest()}


def test_a_folder_of_spider_is_read_with_its_databases(spider_folder, examples):
    source = read_source(str(spider_folder), SourceOptions())
    assert [(row.question, row.db_id) for row in source.rows] == [
        (item["question"], item["db_id"]) for item in examples
    ]
    schemas = read_schemas(spider_folder / "tables.json")
    assert all(row.schema == schemas[row.db_id] for row in source.rows)
    assert all(Path(row.database).is_file() for row in source.rows)
    assert set(source.inputs) == {"train_spider.json", "train_others.json", "tables.json", "4 databases"}
    style = SourceOptions(style=SchemaStyle(keys=True, values=2))
    assert all(
        "PRIMARY KEY" in row.schema and "/*" in row.schema for row in read_source(str(spider_folder), style).rows
    )


def test_a_folder_of_bird_is_read_with_its_evidence(tmp_path, examples):
    folder = tmp_path / "bird"
    folder.mkdir()
    rows = [
        {"db_id": item["db_id"], "question": item["question"], "evidence": evidence, "SQL": item["query"]}
        for item, evidence in zip(examples, ["old means 60 or more", ""] * 24, strict=True)
    ]
    (folder / "train.json").write_text(json.dumps(rows))
    (folder / "train_tables.json").write_bytes(demo.TABLES.read_bytes())
    demo.build(folder / "train_databases")
    [first, second, *_] = read_source(str(folder), SourceOptions()).rows
    assert first.question == f"{examples[0]['question']}\nEvidence: old means 60 or more"
    assert second.question == examples[1]["question"]
    assert first.query == examples[0]["query"]
    assert read_source(str(folder), SourceOptions(evidence=False)).rows[0].question == examples[0]["question"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.json",
            '[{"text": "a", "label": 1}]',
            r"lacks question, query, schema \(or db_id\); its columns are text, label",
        ),
        ("x.json", '{"question": "a"}', "is not a list"),
        ("x.json", '[{"question": "a"', "is not JSON"),
        ("x.json", "[]", "yields no examples"),
        ("x.json", '["a"]', "entry 1 is not a record but a str"),
        ("x.jsonl", '{"question": "a", "query": "b", "schema": "c"}\n{"question": ', "line 2 is not JSON"),
        (
            "x.jsonl",
            '{"question": "a", "query": "b", "db_id": "c"}',
            r"line 1: no schema of database `c` is known",
        ),
        ("x.csv", "question,query,schema\na,b\n", "line 2 has another number of fields"),
        ("x.csv", 'question,query,schema\na,b,"c\n', "line 1: unexpected end of data"),
        ("x.parquet", "no parquet", "this is not a parquet file"),
        ("x.txt", "SELECT 1", "is of no known kind"),
    ],
)
def test_a_bad_file_is_an_error_that_says_where(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(QsqlError, match=rf"{message}(.|\n)*hint: "):
        read_source(str(path), SourceOptions())


def test_a_missing_source_is_an_error_that_lists_what_can_be_given(tmp_path):
    with pytest.raises(QsqlError, match=r"no source .*\nhint: .*folder of Spider or BIRD.*on the hub"):
        read_source(str(tmp_path / "missing.json"), SourceOptions())
    (tmp_path / "other.txt").touch()
    with pytest.raises(QsqlError, match=r"is no folder of Spider or BIRD; it holds other\.txt"):
        read_source(str(tmp_path), SourceOptions())
    (tmp_path / "train_spider.json").write_text("[]")
    with pytest.raises(QsqlError, match=r"has no `tables.json` and no databases"):
        read_source(str(tmp_path), SourceOptions())


def test_a_missing_extra_names_the_pip_line(tmp_path, monkeypatch):
    path = write(tmp_path / "rows.parquet", ROWS)
    for module in ("pyarrow.parquet", "huggingface_hub", "ftfy.badness"):
        monkeypatch.setitem(sys.modules, module, None)
    for source in (str(path), "someone/data"):
        with pytest.raises(QsqlError, match=r"hint: pip install 'qsql-lab\[data\]'"):
            read_source(source, SourceOptions())
    with pytest.raises(QsqlError, match=r"hint: pip install 'qsql-lab\[data\]'"):
        prepare(Settings(sources=[str(write(tmp_path / "rows.json", ROWS))]), tmp_path / "out")


def test_the_folder_is_what_llamafactory_reads(spider_folder, tmp_path):
    report = prepare(Settings(sources=[str(spider_folder)], validation=0.4), tmp_path / "out")
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    assert set(info) == {"train", "validation"}
    schemas = {}
    for name, entry in info.items():
        assert entry["columns"] == {"prompt": "instruction", "query": "input", "response": "output"}
        items = json.loads((tmp_path / "out" / entry["file_name"]).read_text(encoding="utf-8"))
        assert len(items) == report[name]["rows"] > 0
        for item in items:
            assert item["instruction"] == build_prompt(item["schema"], item["question"])
            assert item["instruction"].startswith(INSTRUCTION)
            assert item["input"] == ""
            assert item["output"].upper().startswith("SELECT")
            assert not item["output"].endswith(";")
        schemas[name] = {item["schema"] for item in items}
    assert not schemas["train"] & schemas["validation"]
    assert read_report(tmp_path / "out") == report


def test_twice_the_same_gives_the_same_bytes(spider_folder, tmp_path):
    settings = Settings(sources=[str(spider_folder)], validation=0.4)
    prepare(settings, tmp_path / "one")
    moved = spider_folder.rename(tmp_path / "elsewhere").rename(tmp_path / "deeper")
    moved = moved.rename(tmp_path / "spider")
    prepare(Settings(sources=[str(moved)], validation=0.4), tmp_path / "two")
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    command = [sys.executable, "-m", "qsql", "data", "prepare", str(moved), "--validation", "0.4"]
    subprocess.run([*command, "--out", str(tmp_path / "three")], check=True, capture_output=True, env=environment)
    assert digests(tmp_path / "one") == digests(tmp_path / "two") == digests(tmp_path / "three")


def test_rows_that_are_added_move_no_other(demo_databases, tmp_path):
    records = list(planted.questions(demo_databases))
    extra = [
        {
            "schema": f"CREATE TABLE x{n} (a{n} INTEGER);",
            "question": f"Sum up {n}?",
            "query": f"SELECT sum(a{n}) FROM x{n}",
        }
        for n in range(40)
    ]
    sides = []
    for number, rows in enumerate((records[::2], extra[:20] + records + extra[20:])):
        source = write(
            tmp_path / f"rows{number}.jsonl",
            [{name: row[name] for name in ("schema", "question", "query")} for row in rows],
        )
        prepare(Settings(sources=[str(source)], validation=0.5), tmp_path / f"out{number}")
        sides.append(
            {
                item["question"] + item["schema"]: name
                for name in ("train", "validation")
                for item in json.loads((tmp_path / f"out{number}" / f"{name}.json").read_text())
            }
        )
    before, after = sides
    assert len(after) > len(before) + 40
    assert set(before.values()) == {"train", "validation"}
    assert {key: after[key] for key in before} == before


def test_the_seed_draws_other_schemas(demo_databases, tmp_path):
    source = write(
        tmp_path / "rows.json",
        [{k: row[k] for k in ("schema", "question", "query")} for row in planted.questions(demo_databases)],
    )
    sides = set()
    for seed in range(6):
        try:
            prepare(Settings(sources=[str(source)], validation=0.5, seed=seed), tmp_path / "out")
        except QsqlError as error:
            # Of four schemas, all may.
            if "fall on one side" not in str(error):
                raise
            continue
        items = json.loads((tmp_path / "out" / "validation.json").read_text())
        sides.add(frozenset(item["schema"] for item in items))
    assert len(sides) > 2


def test_the_same_schema_in_another_spelling_is_on_the_same_side(tmp_path):
    rows = []
    for number in range(30):
        for text in ("CREATE TABLE t{n} (Ab_{n} INTEGER, b TEXT);", 'create table "T{n}"\n ( b text, "ab {n}" int );'):
            schema = text.format(n=number)
            column = '"ab ' + f'{number}"' if "text," in text else f"Ab_{number}"
            rows.append(
                {"schema": schema, "question": f"What, {len(rows)}?", "query": f"SELECT {column} FROM t{number}"}
            )
    prepare(Settings(sources=[str(write(tmp_path / "rows.json", rows))], validation=0.3), tmp_path / "out")
    sides = [json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("train", "validation")]
    numbers = [{item["output"].rsplit("t", 1)[1] for item in side} for side in sides]
    assert all(numbers)
    assert not numbers[0] & numbers[1]


def test_schemas_are_compared_by_their_columns():
    def signature(**tables):
        return SchemaSignature.of((name, columns.split()) for name, columns in tables.items())

    music = signature(singer="id name age country", song="id title singer_id year")
    assert music.likeness(signature(artist="ID Name Age Country", track="Id Title SingerId Year")) == 1
    assert music.likeness(signature(singer="id name age country", album="id label price")) < 0.75
    assert signature(singer="id name").likeness(signature(teacher="id name")) == 0
    assert music.is_part_of(signature(singer="id name age country", song="id title singer_id year", label="id name"))
    assert not signature(singer="id name age country").is_part_of(music)


def test_an_evaluation_set_is_kept_out_of_spider(spider, tmp_path):
    """Dev examples among the training examples are all found; of the training examples hardly any is taken for one."""
    dev = json.loads((spider / "dev.json").read_text())
    train = json.loads((spider / "train_spider.json").read_text())
    schemas = read_schemas(spider / "tables.json")
    mixed = [{**item, "id": f"dev-{n}", "db_id": None, "schema": schemas[item["db_id"]]} for n, item in enumerate(dev)]
    mixed += [{**item, "id": f"train-{n}", "schema": schemas[item["db_id"]]} for n, item in enumerate(train)]
    source = write(tmp_path / "rows.json", mixed)
    settings = Settings(
        sources=[str(source)], exclude=[str(spider / "dev.json")], skip=["execution", "duplicate", "near_duplicate"]
    )
    report = prepare(settings, tmp_path / "out")
    kept = [
        item["id"]
        for name in ("train", "validation")
        for item in json.loads((tmp_path / "out" / f"{name}.json").read_text())
    ]
    assert [name for name in kept if name.startswith("dev-")] == []
    assert len(train) - len(kept) <= 30
    assert report["dropped_examples"]["compile"]["reasons"] == {"other": 2, "no_such_table": 1}
    assert report["dropped_examples"]["leakage"]["reasons"]["schema"] == len(dev)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": ["leekage"]}, r"no stage `leekage`\nhint: did you mean `leakage`"),
        ({"validation": 1.0}, "`validation` is 1.0"),
        ({"near_duplicate_likeness": 0}, "a likeness is above 0"),
        ({"cutoff": 0}, "`cutoff` is 0"),
        ({"values": -1}, "`values` is -1"),
    ],
)
def test_settings_that_make_no_sense_are_errors(options, message):
    with pytest.raises(QsqlError, match=message):
        Settings(**options)


def test_the_shipped_configuration_is_read_and_options_go_before_it():
    settings = load_settings(CONFIG)
    assert settings.sources == ["PipableAI/pip-txt-to-sql-spider-bird-dataset"]
    assert (settings.tokenizer, settings.cutoff, settings.stages[-1]) == ("Qwen/Qwen3-4B-Base", 2048, "length")
    changed = load_settings(CONFIG, sources=["x.json"], cutoff=100, skip=["length"])
    assert (changed.sources, changed.cutoff) == (["x.json"], 100)
    assert "length" not in changed.stages


def test_a_configuration_with_an_unknown_key_names_the_nearest(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("sources: [x.json]\ncutof: 100\n")
    with pytest.raises(QsqlError, match=r"line 2: `cutof` is no key.*\nhint: did you mean `cutoff`"):
        load_settings(path)


def test_nothing_that_is_left_is_an_error_and_leaves_nothing(tmp_path):
    rows = [{**row, "query": "SELECT missing FROM t"} for row in ROWS]
    with pytest.raises(
        QsqlError, match=r"nothing is left of 2 examples; the stage `compile` dropped 2\nhint: .*entry 1"
    ):
        prepare(Settings(sources=[str(write(tmp_path / "rows.json", rows))]), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_what_was_prepared_before_is_replaced_and_other_things_are_not(spider_folder, tmp_path):
    settings = Settings(sources=[str(spider_folder)], validation=0)
    prepare(settings, tmp_path / "out")
    assert set(json.loads((tmp_path / "out" / "dataset_info.json").read_text())) == {"train"}
    prepare(Settings(sources=[str(spider_folder)], validation=0.4), tmp_path / "out")
    assert read_report(tmp_path / "out")["validation"]["rows"] > 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(QsqlError, match="exists and holds something else"):
        prepare(settings, tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_what_is_read_is_never_replaced(spider_folder, tmp_path):
    rows = [{"question": f"q{n}", "query": "SELECT a FROM t", "schema": "CREATE TABLE t (a int)"} for n in range(3)]
    (tmp_path / "mine").mkdir()
    source = write(tmp_path / "mine" / "train.json", rows)
    before = source.read_bytes()
    settings = Settings(sources=[str(source)], validation=0)
    with pytest.raises(QsqlError, match=r"train\.json` is read, and would be lost"):
        prepare(settings, tmp_path / "mine")
    # Another tool's folder may have files of the same names.
    with pytest.raises(QsqlError, match="holds something else"):
        prepare(Settings(sources=[str(spider_folder)]), tmp_path / "mine")
    assert source.read_bytes() == before
    prepare(settings, tmp_path / "out")
    again = Settings(sources=[str(tmp_path / "out" / "train.json")], validation=0)
    with pytest.raises(QsqlError, match="would be lost"):
        prepare(again, tmp_path / "out")


def test_a_folder_that_is_not_complete_or_changed_is_refused(spider_folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(QsqlError, match="is no prepared data set"):
        read_report(tmp_path)
    prepare(Settings(sources=[str(spider_folder)], validation=0.4), out)
    (out / "train.json").write_text("[]")
    with pytest.raises(QsqlError, match=r"train\.json` was changed"):
        read_report(out)
    (out / "train.json").unlink()
    with pytest.raises(QsqlError, match=r"train\.json` is missing"):
        read_report(out)


def test_the_command_prints_the_stages_in_80_columns(run_qsql, spider_folder, tmp_path):
    out = tmp_path / "out"
    done = run_qsql("data", "prepare", spider_folder, "--validation", "0.4", "--out", out)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert rows[0] == ["stage", "in", "dropped", "kept", "reasons"]
    assert [row[0] for row in rows[2:11]] == [
        "encoding",
        "empty",
        "syntax",
        "compile",
        "execution",
        "leakage",
        "duplicate",
        "near_duplicate",
        "length",
    ]
    assert rows[7][2] == rows[10][2] == "off"
    assert "lengths are not checked" in done.stderr
    assert "leakage is not checked" in done.stderr
    shown = run_qsql("data", "show", out)
    one = run_qsql("data", "show", out, "--index", 0)
    assert one.returncode == shown.returncode == 0
    assert INSTRUCTION in one.stdout
    assert "SELECT" in one.stdout
    for text in (done.stdout, shown.stdout):
        assert max(map(len, text.splitlines())) <= 80
    far = run_qsql("data", "show", out, "--index", 10_000)
    assert (far.returncode, "numbered from 0" in far.stderr) == (1, True)


def test_the_command_shows_what_was_dropped(run_qsql, tmp_path):
    rows = [*ROWS, {**ROWS[0], "query": "SELECT b FROM t"}]
    run_qsql("data", "prepare", write(tmp_path / "rows.json", rows), "--validation", 0, "--out", tmp_path / "out")
    done = run_qsql("data", "show", tmp_path / "out", "--dropped", "compile")
    assert done.stdout.splitlines() == [
        "rows.json entry 3: no_such_column",
        "  detail: no such column: b",
        "  question: How many, all told?",
        "  query: SELECT b FROM t",
    ]
    assert run_qsql("data", "show", tmp_path / "out", "--dropped", "syntax").stdout == "`syntax` dropped nothing\n"
    assert run_qsql("data", "show", tmp_path / "out", "--dropped", "length").stdout == "`length` was off\n"
    wrong = run_qsql("data", "show", tmp_path / "out", "--dropped", "sintax")
    assert (wrong.returncode, "there is no stage `sintax`" in wrong.stderr) == (1, True)


def test_broken_text_is_dropped_shown_and_never_in_the_way(run_qsql, tmp_path):
    broken = [
        ROWS[0] | {"question": "How \ud800 many?"},
        ROWS[0] | {"question": "How \x1b[31m many [bold]x[/bold] <script>|?"},
        ROWS[1] | {"schema": ROWS[1]["schema"] + " -- \udfff"},
    ]
    source = write(tmp_path / "rows.jsonl", [*ROWS, *broken])
    evaluation = write(tmp_path / "dev.json", [{"question": "\ud800?", "schema": "\ud800", "query": "\ud800"}])
    options = ("--validation", 0, "--exclude", evaluation)
    done = run_qsql("data", "prepare", source, *options, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert read_report(tmp_path / "out")["dropped_examples"]["encoding"]["reasons"] == {
        "undecodable": 2,
        "control_character": 1,
    }
    shown = run_qsql("data", "show", tmp_path / "out", "--dropped", "encoding").stdout
    assert "\x1b" not in shown
    assert "How \\x1b[31m many [bold]x[/bold] <script>|?" in shown
    card = (tmp_path / "out" / "data_card.md").read_text(encoding="utf-8")
    assert "\x1b" not in card
    assert "<script>" not in card
    kept = run_qsql("data", "prepare", source, *options, "--skip", "encoding", "--out", tmp_path / "all")
    assert kept.returncode == 0, kept.stderr
    assert len(json.loads((tmp_path / "all" / "train.json").read_text(encoding="utf-8"))) == 4


def test_the_present_folder_can_be_the_one(run_qsql, tmp_path):
    source = write(tmp_path / "rows.json", ROWS)
    (tmp_path / "here").mkdir()
    for _ in range(2):
        done = run_qsql("data", "prepare", source, "--validation", 0, "--out", ".", cwd=tmp_path / "here")
        assert done.returncode == 0, done.stderr
    assert read_report(tmp_path / "here")["train"]["rows"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "rows.json"]


def test_a_new_set_that_cannot_take_its_place_leaves_the_old_one(spider_folder, tmp_path, monkeypatch):
    settings = Settings(sources=[str(spider_folder)], validation=0.4)
    prepare(settings, tmp_path / "out")
    before, replace = digests(tmp_path / "out"), Path.replace

    def refuse(path, target):
        if path.name.endswith(".partial"):
            raise OSError(28, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(QsqlError, match=r"cannot write .*No space left"):
        prepare(settings, tmp_path / "out")
    assert digests(tmp_path / "out") == before
    assert not list(tmp_path.glob(".out*"))


def test_ctrl_c_leaves_what_was_there(spider_folder, tmp_path):
    slow = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"
    prepare(Settings(sources=[str(spider_folder)], validation=0.4), tmp_path / "out")
    before = digests(tmp_path / "out")
    (spider_folder / "train_others.json").write_text(
        json.dumps([{"db_id": "seed_bank", "question": "What?", "query": slow}])
    )
    config = tmp_path / "config.yaml"
    config.write_text("max_steps: 1000000000000\n")
    options = [spider_folder, "--config", config, "--out", tmp_path / "out"]
    with started([sys.executable, "-c", SAYS_WHEN_EXECUTING, "data", "prepare", *options]) as process:
        assert process.stdout.readline() == "executing\n"
        status, _, said = stop(process, signal.SIGINT)
    assert (status, said) == (130, f"interrupted; `{tmp_path / 'out'}` is as it was\n")
    assert digests(tmp_path / "out") == before
    assert not list(tmp_path.glob(".out*"))


SAYS_WHEN_EXECUTING = """
from qsql.prepare import clean
execute = clean.drop_unexecutable
def tell(*arguments, progress, **options):
    return execute(*arguments, progress=lambda *_: print("executing", flush=True), **options)
clean.drop_unexecutable = tell
from qsql.cli import main
main()
"""


def _cut_off(file):
    file.write_bytes(file.read_bytes()[:5000])


def _forbid(file):
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("root may read everything")


UNREADABLE = {
    "no database": lambda file: file.write_bytes(b"no database at all " * 100),
    "a log": lambda file: file.with_name(f"{file.name}-wal").write_bytes(b"x" * 100),
    "a journal": lambda file: file.with_name(f"{file.name}-journal").write_bytes(
        bytes.fromhex("d9d505f920a163d7") + bytes(600)
    ),
    "cut off": _cut_off,
    "no permission": _forbid,
}


@pytest.mark.parametrize("break_it", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("with_tables", [True, False])
def test_a_database_that_cannot_be_read_costs_its_own_rows(spider_folder, tmp_path, break_it, with_tables):
    break_it(spider_folder / "database" / "seed_bank" / "seed_bank.sqlite")
    if not with_tables:
        (spider_folder / "tables.json").unlink()
    examples = json.loads((spider_folder / "train_spider.json").read_text())
    own = sum(example["db_id"] == "seed_bank" for example in examples)
    (spider_folder / "train_others.json").unlink()
    report = prepare(Settings(sources=[str(spider_folder)], validation=0), tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "train.json").read_text())
    dropped = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()]
    lost = [item for item in dropped if item["reason"] in {"unreadable_database", "database_error"}]
    assert {item["db_id"] for item in lost} == {"seed_bank"}
    assert len(lost) == own > 0
    assert all(item["detail"] for item in lost)
    assert len(kept) == len(examples) - len(dropped) > len(examples) / 2
    assert report["sources"][0]["rows"] == len(examples)
