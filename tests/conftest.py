"""Fixtures: the demo databases, the Spider folder where there is one, and the command line as a child process."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from processes import PATIENCE

from qsql import demo

# Of our extension: taken before other libraries written in Rust are imported, which have one of their own.
(PanicException,) = [found for found in BaseException.__subclasses__() if found.__name__ == "PanicException"]


@pytest.fixture(scope="session")
def demo_databases(tmp_path_factory):
    """Folder of the demo databases."""
    return demo.build(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def spider(tmp_path_factory):
    """Spider's golds, predictions and official verdicts, with `databases` and `suite` unpacked beside links to them."""
    source = os.environ.get("QSQL_SPIDER_DIR")
    if not source:
        pytest.skip("QSQL_SPIDER_DIR names no Spider folder: parity with the official verdicts is NOT tested")
    folder = tmp_path_factory.mktemp("spider")
    for name in ("databases", "suite"):
        with tarfile.open(Path(source) / f"{name}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
    for entry in Path(source).iterdir():
        (folder / entry.name).symlink_to(entry.resolve())
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory):
    """Where command lines keep results of golds: not where the user's do."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QSQL_CACHE_DIR", str(directory))
        yield directory


@pytest.fixture
def run_qsql():
    """Run `qsql` with arguments, 80 columns wide; returns the finished process."""

    def run(*arguments, **options):
        command = [sys.executable, "-m", "qsql", *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", **options.pop("env", {})}
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False, timeout=PATIENCE, **options
        )

    return run
