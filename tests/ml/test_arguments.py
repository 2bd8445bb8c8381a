"""The list of arguments, the shipped configurations and the worker against the installed LLaMA-Factory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from llamafactory_arguments import LIST, installed_arguments, installed_templates

from qsql.config import load_config
from qsql.train.arguments import known_arguments

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "train").glob("*.yaml"))


def test_the_list_is_that_of_the_installed_version():
    document = json.loads(LIST.read_text(encoding="utf-8"))
    assert document["arguments"] == installed_arguments()
    assert document["templates"] == installed_templates()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_llamafactory_reads_a_configuration_as_we_do(path):
    from llamafactory.hparams.parser import _parse_train_args  # noqa: PLC0415 - needs the stand-in for torchaudio
    from omegaconf import OmegaConf  # noqa: PLC0415

    values = OmegaConf.to_container(OmegaConf.load(path))
    assert values == load_config(path, (), known_arguments()).values
    groups = _parse_train_args(values | {"use_cpu": True, "bf16": False})
    parsed = {name: value for group in groups for name, value in vars(group).items()}
    for name in ("template", "cutoff_len", "learning_rate", "per_device_train_batch_size", "eval_steps", "output_dir"):
        assert parsed[name] == values[name]
