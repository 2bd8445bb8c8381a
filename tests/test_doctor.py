"""`qsql doctor`: what it finds on this machine, and on ones that lack something."""

from __future__ import annotations

import json
import sys

import pytest

from qsql import QsqlError, __version__, extras, machine
from qsql.doctor import Diagnosis, examine
from qsql.extras import Extra, Package, Torch, examine_extras, install_line
from qsql.machine import Gpu, Memory

GPU = Gpu(0, "Big GPU", 80 << 30, 1 << 30)


def extra(name, version="1.0", problem=None):
    return Extra(name, (Package("torch", "torch>=2.6", version, problem),))


def diagnosis(**found):
    defaults = {
        "cores": 2,
        "threads": 2,
        "memory": Memory(2, 1),
        "scoring_problem": None,
        "gpus": [],
        "gpu_problem": "there is no nvidia-smi",
        "torch": None,
        "caches": [],
        "extras": [extra("train")],
        "extras_problem": None,
        "versions": {},
        "sqlite_compile_options": [],
    }
    return Diagnosis(**(defaults | found))


def test_everything_is_found_and_fits_80_columns(run_qsql):
    done = run_qsql("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert f"qsql      {__version__} in " in done.stdout
    for name in ("Python", "platform", "SQLite", "CPU", "memory", "GPU", "cache", "extra", "data", "train"):
        assert f"\n{name} " in done.stdout, name
    assert "\nverdict  works: scoring, " in done.stdout
    assert "ENABLE_MATH_FUNCTIONS" in done.stdout


def test_json_has_it_all_as_plain_values_and_nothing_is_written(run_qsql, tmp_path):
    places = {"QSQL_CACHE_DIR": str(tmp_path / "golds"), "HF_HUB_CACHE": str(tmp_path / "hub" / "hub")}
    done = run_qsql("doctor", "--format", "json", env=places)
    found = json.loads(done.stdout)
    assert (done.returncode, found["scoring_problem"]) == (0, None)
    assert found["verdict"].startswith("works: scoring")
    assert found["versions"]["qsql"] == __version__
    assert found["versions"]["python_path"] == sys.executable
    assert "THREADSAFE=1" in found["sqlite_compile_options"]
    assert 0 < found["memory"]["available"] <= found["memory"]["total"]
    assert [(cache["path"], cache["exists"], cache["problem"]) for cache in found["caches"]] == [
        (place, False, None) for place in places.values()
    ]
    assert list(tmp_path.iterdir()) == []
    by_name = {extra["name"]: extra for extra in found["extras"]}
    assert by_name.keys() >= {"data", "generate", "openai", "report", "train", "vllm"}
    assert "dev" not in by_name
    assert by_name["data"]["state"] == by_name["report"]["state"] == "ready"
    assert {package["name"] for package in by_name["data"]["packages"]} >= {"datasketch", "ftfy", "pyarrow"}
    assert by_name["generate"]["install"] == "pip install 'qsql-lab[generate]'"


@pytest.mark.parametrize(
    ("place", "problem"), [("file/golds", "Not a directory"), ("x" * 300 + "/golds", "File name too long")]
)
def test_a_cache_that_cannot_be_written_is_told_with_the_reason(monkeypatch, tmp_path, place, problem):
    monkeypatch.setattr(extras, "DISTRIBUTION", "qsql-lab-that-nobody-installed")  # which saves the imports
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("QSQL_CACHE_DIR", str(tmp_path / place))
    found = examine()
    assert (found.caches[0].path, found.caches[0].problem) == (tmp_path / place, problem)
    assert "cannot be written: results of golds" in found.verdict


def test_what_cannot_be_written_is_shown_and_what_lies_here_is_not_imported(run_qsql, tmp_path):
    (tmp_path / "ftfy.py").write_text("raise ImportError('not the one that is installed')", encoding="utf-8")
    done = run_qsql("doctor", cwd=tmp_path, env={"QSQL_CACHE_DIR": str(tmp_path / "ftfy.py" / "golds")})
    assert done.returncode == 0
    assert "cannot be written: Not a directory" in " ".join(done.stdout.split())
    assert "ImportError" not in done.stdout


def installed(folder, name, code, version="1.0"):
    """Lay a package beside others, as pip does."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(code, encoding="utf-8")
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (info / "RECORD").write_text(f"{name}/__init__.py,,\n", encoding="utf-8")


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An environment where this package has the extra `x` with the requirements given, beside folders of packages."""

    def make(*requirements):
        info = tmp_path / "qsql_lab-0.1.0.dist-info"
        info.mkdir()
        lines = [
            "Metadata-Version: 2.1",
            "Name: qsql-lab",
            "Version: 0.1.0",
            "Requires-Dist: rich",
            "Provides-Extra: x",
        ]
        lines += [f"Requires-Dist: {requirement}; extra == 'x'" for requirement in requirements]
        (info / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return tmp_path

    return make


def test_extras_are_what_the_metadata_say(environment):
    folder = environment("good_one>=1", "not_there==2")
    installed(folder, "good_one", "")
    (found,), torch = examine_extras()
    assert found.packages == (
        Package("good_one", "good_one>=1", "1.0", None),
        Package("not_there", "not_there==2", None, None),
    )
    assert (found.state, torch) == ("missing", None)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import nothing_like_that", "ModuleNotFoundError: No module named 'nothing_like_that'"),
        ("raise OSError('libcudart.so.12: cannot open')", "OSError: libcudart.so.12: cannot open"),
        ("import os; os._exit(7)", "its import ends the process with status 7"),
        ("import sys; sys.exit('no')", "SystemExit: no"),
    ],
)
def test_an_import_that_fails_is_shown_with_its_reason(environment, code, problem):
    folder = environment("bad_one", "good_one")
    installed(folder, "bad_one", f"print('noise')\n{code}")
    installed(folder, "good_one", "")
    (found,), _ = examine_extras()
    assert [package.problem for package in found.packages] == [problem, None]
    assert found.state == "broken"


def test_an_import_that_never_ends_is_stopped(environment, monkeypatch):
    monkeypatch.setattr(extras, "IMPORT_SECONDS", 1.0)
    folder = environment("slow_one")
    installed(folder, "slow_one", "import time; time.sleep(60)")
    (found,), _ = examine_extras()
    assert found.packages[0].problem == "its import takes longer than 1 s"


def test_another_version_than_the_one_needed_is_no_working_package(environment):
    folder = environment("old_one>=2,<3")
    installed(folder, "old_one", "")
    (found,), _ = examine_extras()
    assert found.packages[0].problem == "version 1.0 is installed, <3,>=2 is needed"
    assert found.state == "broken"


def test_what_torch_says_is_asked_in_the_other_process(environment):
    folder = environment("torch")
    code = """
from types import SimpleNamespace as N
version = N(cuda="12.8", hip=None)
backends = N(mps=N(is_available=lambda: False))
cuda = N(device_count=lambda: 1, get_device_name=lambda _: "Big GPU", mem_get_info=lambda _: (70, 80))
"""
    installed(folder, "torch", code)
    _, torch = examine_extras()
    assert torch == Torch("12.8", [("Big GPU", 70, 80)], None, mps=False)
    assert "torch" not in sys.modules


def test_code_that_is_not_installed_is_told_to_be(monkeypatch):
    monkeypatch.setattr(extras, "DISTRIBUTION", "qsql-lab-that-nobody-installed")
    with pytest.raises(QsqlError, match="is not installed in this environment"):
        examine_extras()
    found = examine()
    assert "extras: not known" in found.verdict
    assert "is not installed" in found.as_json()["extras_problem"]


@pytest.mark.parametrize(
    ("package", "module"), [("pyyaml", "yaml"), ("huggingface-hub", "huggingface_hub"), ("typer", "typer")]
)
def test_the_module_of_a_package_is_found_among_its_files(package, module):
    assert extras.module_of(package) == module


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({"scoring_problem": "disk full"}, "scoring does not work: disk full"),
        (
            {"extras": [extra("data"), extra("train", None), extra("vllm", problem="x")]},
            "works: scoring, data; broken: vllm; missing: train",
        ),
        ({}, "works: scoring, train; without a GPU, training and generation are for small models"),
        ({"gpus": [GPU]}, "works: scoring, train"),
        (
            {"gpus": [GPU], "torch": Torch(None, [], None, mps=False)},
            "works: scoring, train; without a GPU, training and generation are for small models",
        ),
        ({"torch": Torch(None, [], None, mps=True)}, "works: scoring, train"),
    ],
)
def test_the_verdict_is_one_line_on_what_works(found, verdict):
    assert diagnosis(**found).verdict == verdict


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for nvidia-smi is a shell script")
def test_a_driver_that_fails_is_told_with_its_words(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'Driver/library version mismatch'\nexit 18\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert machine.ask_driver() == ([], "nvidia-smi fails: Driver/library version mismatch")


def test_memory_is_that_of_the_container_if_it_has_less(monkeypatch, tmp_path):
    whole = machine.memory()
    (tmp_path / "memory.max").write_text("1048576\n", encoding="ascii")
    (tmp_path / "memory.current").write_text("1000000\n", encoding="ascii")
    monkeypatch.setattr(machine, "CONTROL_GROUP", tmp_path)
    assert machine.memory() == Memory(1048576, 48576)
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    assert machine.memory().total == whole.total


def test_the_line_of_an_extra_adds_what_pip_would_not():
    assert install_line("train") == "pip install 'qsql-lab[train]' && pip install --no-deps llamafactory==0.9.5"
