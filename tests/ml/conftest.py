"""A tiny model with random weights and its data, and `qsql train` as a child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE

ROOT = Path(__file__).parents[2]
TINY = ROOT / "configs" / "train" / "tiny_cpu.yaml"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folder with `data`, `databases` and `model`."""
    folder = tmp_path_factory.mktemp("tiny")
    subprocess.run([sys.executable, ROOT / "benches" / "tiny_training.py", folder], check=True, env=ENVIRONMENT)
    return folder


@pytest.fixture(scope="session")
def train_command(tiny):
    """Build the command that trains the tiny model into a folder."""

    def command(out, *arguments):
        places = [f"model_name_or_path={tiny / 'model'}", f"dataset_dir={tiny / 'data'}", f"output_dir={out}"]
        return [sys.executable, "-m", "qsql", "train", str(TINY), *places, *map(str, arguments)]

    return command


@pytest.fixture(scope="session")
def train(train_command):
    """Train the tiny model to the end; returns the finished process."""

    def run(out, *arguments):
        return subprocess.run(
            train_command(out, *arguments),
            capture_output=True,
            text=True,
            check=False,
            env=ENVIRONMENT,
            timeout=PATIENCE,
        )

    return run


def read_lines(path):
    """Objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
