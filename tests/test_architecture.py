"""Imports point down only: each layer knows those below it, and brothers never know each other."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "qsql"
LAYERS = [
    {"__main__", "official"},
    {"cli"},
    {"prepare", "train", "generate", "evaluate", "report", "rewards", "demo", "doctor"},
    {"engines", "results", "training_log"},
    {
        *("data", "dataset_info", "directories", "extras", "features", "machine", "markdown", "outputs", "prompt"),
        "records",
        "schema_text",
    },
    {"config"},
    {"files"},
    {"shapes"},
    {"children", "paths", "visible"},
    {"__init__"},
    {"asynchronous"},
    {"_core"},
]
RUST_LAYERS = [["python"], ["score"], ["exec", "spider"], ["sql"], ["error"], ["file"]]
GATES = {"pyo3": "python/", "rayon": "score/mod.rs", "rusqlite": "exec/sandbox/", "sqlparser": "sql/canonical/read/"}


def layer(module, layers):
    return next(number for number, names in enumerate(layers) if module in names)


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "qsql":
            _, _, module = node.module.partition(".")
            yield from [module] if module else [alias.name for alias in node.names]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_python_imports_point_down(path):
    module = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imported_modules(path):
        target = name.split(".")[0]
        if target != module:
            assert layer(target, LAYERS) > layer(module, LAYERS), f"{module} imports {target}"


@pytest.mark.parametrize("path", sorted((ROOT / "rust").rglob("*.rs")), ids=str)
def test_rust_imports_point_down(path):
    place = path.relative_to(ROOT / "rust")
    module = place.parts[0].removesuffix(".rs")
    if module == "lib":
        return
    code = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\bcrate::(\w+)", code):
        if target != module:
            assert layer(target, RUST_LAYERS) > layer(module, RUST_LAYERS), f"{place} uses crate::{target}"


@pytest.mark.parametrize("library", GATES)
def test_each_library_has_one_gate(library):
    code = re.compile(rf"^\s*(use {library}\b|.*\b{library}::|#\[{library}\b)", re.MULTILINE)
    named = [path for path in (ROOT / "rust").rglob("*.rs") if code.search(path.read_text(encoding="utf-8"))]
    assert named
    assert all(str(path.relative_to(ROOT / "rust")).startswith(GATES[library]) for path in named)


def test_importing_qsql_loads_nothing_heavy():
    code = "import sys, qsql; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "altair",
        "datasets",
        "jinja2",
        "numpy",
        "packaging",
        "psutil",
        "pyarrow",
        "rich",
        "scipy",
        "typer",
        "torch",
        "transformers",
        "yaml",
    }
    assert not heavy & set(loaded)


def test_commands_load_what_they_need_when_they_run():
    code = "import sys, qsql.cli; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"altair", "datasets", "jinja2", "numpy", "pyarrow", "scipy", "vl_convert", "yaml"} & set(loaded)


def test_files_stay_readable():
    sources = [*(ROOT / "rust").rglob("*.rs"), *PACKAGE.rglob("*.py"), *(ROOT / "tests").glob("*.*")]
    long = {str(path): lines for path in sources if (lines := path.read_text(encoding="utf-8").count("\n")) > 600}
    assert long == {}


TESTS = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_processes_of_tests_are_started_by_the_helper_that_ends_them(path):
    """What outlives a test that fails disturbs others, and on a busy machine a sleep is shorter than it looks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert path.name in {"processes.py", "browser.py"} or called.isdisjoint({"subprocess.Popen", "time.sleep"})


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_asserts_something(path):
    functions = {
        node.name: node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    def asserts(function):
        for node in ast.walk(function):
            if isinstance(node, ast.Assert):
                return True
            if isinstance(node, ast.Call):
                text = ast.unparse(node)
                if ".raises(" in text or "check=True" in text:
                    return True
        return False

    asserting = {name for name, function in functions.items() if asserts(function)}
    for name, function in functions.items():
        if name.startswith("test_") and name not in asserting:
            called = {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
            assert called & asserting, f"{name} asserts nothing"
