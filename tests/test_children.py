"""Python processes that are started: none imports what lies in the current folder, none lets a model run code."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import qsql
from qsql import QsqlError
from qsql.children import child_environment, python_command, safe_path
from qsql.config import load_config
from qsql.engines import EngineSettings
from qsql.extras import _import as import_elsewhere
from qsql.generate.settings import KEYS, settings_from
from qsql.train.launch import command, variables

PLANTED = "import os, pathlib; pathlib.Path(os.environ['MARK']).open('a').write(__name__ + '\\n')\n"
NAMES = [
    "llamafactory", "torch", "transformers", "datasets", "tokenize", "json", "random", "numpy", "yaml", "rich", "typer",
    "psutil", "platformdirs", "sitecustomize", "usercustomize", "multiprocessing", "subprocess", "importlib",
    "packaging", "tempfile", "huggingface_hub", "pyarrow", "encodings", "typing", "asyncio", "secrets",
]  # fmt: skip

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot leave the current folder out")


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """The current folder holds modules of every name, which leave a mark when they are imported."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(PLANTED, encoding="utf-8")
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(PLANTED, encoding="utf-8")
    mark = tmp_path / "mark"
    monkeypatch.setenv("MARK", str(mark))
    monkeypatch.chdir(folder)
    yield folder
    assert not mark.exists(), mark.read_text()


IMPORT_ALL = f"""
import importlib, sys
for name in {NAMES!r}:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
print(sys.path[:1], sys.flags.safe_path)
"""


def run(arguments, environment):
    return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=100, env=environment).stdout


@pytest.mark.usefixtures("hostile")
def test_a_child_imports_nothing_from_the_current_folder():
    assert run(python_command("-c", IMPORT_ALL), child_environment()).endswith("True\n")
    assert run(python_command("-m", "json.tool", "--help"), child_environment()).startswith("usage")


@pytest.mark.usefixtures("hostile")
def test_what_a_child_starts_imports_nothing_from_there_either():
    grandchild = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {IMPORT_ALL!r}]))"
    assert run(python_command("-c", grandchild), child_environment()).endswith("True\n")
    # As torchrun starts its workers.
    assert run([sys.executable, "-u", "-m", "json.tool", "--help"], child_environment()).startswith("usage")


def report(connection):
    connection.send((sys.flags.safe_path, os.environ.get("PYTHONSAFEPATH")))


@pytest.mark.usefixtures("hostile")
def test_a_spawned_process_imports_nothing_from_there(monkeypatch):
    # As it is when `qsql` is started, and not pytest from the root of the project.
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *(entry for entry in sys.path if entry)])
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=report, args=(theirs,), daemon=True)
    with safe_path():
        process.start()
    theirs.close()
    assert ours.recv() == (True, "1")
    process.join(60)
    assert process.exitcode == 0
    assert "PYTHONSAFEPATH" not in os.environ


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, None), ("", None), (":", None), ("/a:", "/a"), (":/a::/b:", "/a:/b"), ("/a", "/a"), (".", ".")],
)
@pytest.mark.skipif(os.name == "nt", reason="paths are divided by semicolons there")
def test_an_empty_entry_of_the_path_is_left_out(monkeypatch, before, after):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONPATH", before)
    assert child_environment().get("PYTHONPATH") == after
    with safe_path():
        assert os.environ.get("PYTHONPATH") == after
    assert os.environ.get("PYTHONPATH") == before


def test_the_environment_comes_back_after_an_error(monkeypatch):
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    with pytest.raises(ZeroDivisionError), safe_path():
        assert 1 / (os.environ["PYTHONSAFEPATH"] != "1")
    assert os.environ["PYTHONSAFEPATH"] == ""


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("path", ["", ":", "::"])
def test_the_doctor_imports_what_is_installed(monkeypatch, path):
    monkeypatch.setenv("PYTHONPATH", path)
    problems, _ = import_elsewhere(["numpy", "yaml", "llamafactory", "json"])
    assert problems.keys() == {"llamafactory"}
    assert problems["llamafactory"].startswith("ModuleNotFoundError")


@pytest.mark.usefixtures("hostile")
def test_the_command_imports_nothing_from_there(tmp_path):
    script = Path(sys.executable).with_name("qsql")
    if not script.exists():
        pytest.skip("there is no script `qsql` in this environment")
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"question": "How many?", "query": "SELECT 1", "schema": "CREATE TABLE t (a)"})
    )
    for arguments in (
        ["--help"],
        ["doctor", "--format", "json"],
        ["data", "prepare", tmp_path / "rows.jsonl", "--validation", "0", "--out", tmp_path / "out"],
    ):
        run([script, *map(str, arguments)], {**os.environ, "NO_COLOR": "1"})


def test_the_module_leaves_the_current_folder_out(tmp_path, monkeypatch):
    """What Python itself imports before it gets to us is not ours to choose."""
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    for name in ("yaml", "psutil", "huggingface_hub", "pyarrow", "rich"):
        (tmp_path / f"{name}.py").write_text(PLANTED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "qsql", "doctor", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "mark").exists()


def test_training_starts_its_worker_so():
    config = types.SimpleNamespace(values={})
    plan = types.SimpleNamespace(config=config, gpus=[], run_directory=Path("run"))
    assert command(plan) == [sys.executable, "-P", "-m", "qsql.train.worker", "run", "--with-parent"]
    assert variables(plan)["PYTHONSAFEPATH"] == "1"
    plan.gpus = [1, 2]
    assert command(plan)[:4] == [sys.executable, "-P", "-m", "torch.distributed.run"]


@pytest.mark.parametrize(
    ("endpoint", "disabled"), [(None, None), ("https://huggingface.co", None), ("http://127.0.0.1:1", "1")]
)
def test_training_tells_a_mirror_no_token(monkeypatch, endpoint, disabled):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", raising=False)
    if endpoint is not None:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
    plan = types.SimpleNamespace(config=types.SimpleNamespace(values={}))
    assert variables(plan).get("HF_HUB_DISABLE_IMPLICIT_TOKEN") == disabled


# Whether code of models runs


def test_no_file_lets_a_model_run_code(tmp_path):
    file = tmp_path / "generate.yaml"
    file.write_text("data: x.json\nmodel: some/model\ntrust_remote_code: true\n")
    with pytest.raises(QsqlError, match="trust_remote_code"):
        load_config(file, (), KEYS)
    file.write_text("data: x.json\nmodel: some/model\nengine: vllm\nengine_options: {trust_remote_code: true}\n")
    with pytest.raises(QsqlError, match=r"code that comes with the model\nhint: .*--trust-remote-code"):
        settings_from(load_config(file, (), KEYS))
    file.write_text("data: x.json\nmodel: some/model\n")
    for trusted in (False, True):
        settings, _ = settings_from(load_config(file, (), KEYS), trust_remote_code=trusted)
        assert settings.record()["trust_remote_code"] is settings.engine.trust_remote_code is trusted


class FakeLLM:
    """Takes the place of vLLM's, which is not installed here, and keeps what it was made with."""

    made: list = []  # noqa: RUF012

    def __init__(self, **options):
        type(self).made.append((options, os.environ.get("PYTHONSAFEPATH")))

    def get_tokenizer(self):
        return types.SimpleNamespace(chat_template="x")


@pytest.mark.parametrize("trusted", [False, True])
def test_vllm_is_told_whether_code_may_run(monkeypatch, trusted):
    fake = types.ModuleType("vllm")
    fake.LLM, fake.__version__ = FakeLLM, "0"
    fake.__spec__ = types.SimpleNamespace(name="vllm")
    monkeypatch.setitem(sys.modules, "vllm", fake)
    from qsql.engines.vllm import VllmEngine  # noqa: PLC0415

    VllmEngine(EngineSettings("vllm", "some/model", trust_remote_code=trusted, engine_options={"seed": 1}))
    options, safe = FakeLLM.made.pop()
    assert (options["trust_remote_code"], options["seed"], safe) == (trusted, 1, "1")


def test_every_loader_of_transformers_is_told_whether_code_may_run():
    package = Path(qsql.__file__).parent
    for file in package.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for call in ("from_pretrained(", "from_config("):
            for found in text.split(call)[1:]:
                if file.name in {"memory.py", "plan.py"}:
                    continue  # our own `Shape.from_config`
                assert "trust_remote_code" in found[:300] or "**origin" in found[:300], f"{file}: {call}"
