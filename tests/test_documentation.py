"""What `help()` shows: the docstrings of the stub, whose examples do what they say."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import os
import shutil
from pathlib import Path

import pytest

import qsql
from qsql import _core, demo

STUB = Path(_core.__file__).with_name("_core.pyi")
WITH_EXAMPLES = {"Scorer", "canonicalize", "check", "exact_match", "hardness", "query", "score", "score_async"}
MODULES = ["qsql", "qsql.asynchronous", "qsql.prompt", "qsql.rewards"]


def documented(tree=None, owner=""):
    """Names in the stub that have a docstring, with it; those with an underscore exist for type checkers only."""
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body if tree is None else tree:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        if text := ast.get_docstring(node):
            yield owner + node.name, text
        if isinstance(node, ast.ClassDef):
            yield from documented(node.body, f"{node.name}.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where examples run: the demo as `database/` and `tables.json`."""
    place = tmp_path_factory.mktemp("examples")
    demo.build(place / "database")
    shutil.copy(demo.TABLES, place)
    return place


@pytest.mark.parametrize(("name", "text"), list(documented()), ids=lambda value: value.split("\n")[0])
def test_help_shows_the_docstring_of_the_stub(name, text):
    found = _core
    for part in name.split("."):
        found = getattr(found, part)
    assert inspect.cleandoc(found.__doc__) == text


def test_everything_public_is_documented():
    names = {name.split(".")[0] for name, _ in documented()} | {"score_async", "__version__"}
    assert set(qsql.__all__) <= names


def run_examples(docstring, name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    test = doctest.DocTestParser().get_doctest(docstring, {"qsql": qsql}, name, None, None)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report = []
    runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
    return runner.tries


@pytest.mark.parametrize("name", qsql.__all__)
def test_examples_do_what_they_say(name, folder, monkeypatch):
    found = getattr(qsql, name)
    if name == "__version__":
        return
    docstrings = [found.__doc__, *(getattr(found, part).__doc__ for part in dir(found) if not part.startswith("_"))]
    tries = sum(run_examples(text or "", name, folder, monkeypatch) for text in docstrings)
    assert (tries > 0) == (name in WITH_EXAMPLES)


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_modules_do_what_they_say(module, folder, monkeypatch):
    assert os.environ.get("QSQL_DATABASES") is None
    run_examples(importlib.import_module(module).__doc__, module, folder, monkeypatch)
