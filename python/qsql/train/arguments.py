"""The arguments of `llamafactory-cli train`: the vocabulary of the files in `configs/train`.

The list is that of LLaMA-Factory 0.9.5, written from its own definitions by
`tests/ml/llamafactory_arguments.py`, so that a configuration can be checked where LLaMA-Factory is not installed.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from qsql.config import Key


@cache
def known_arguments() -> dict[str, Key]:
    """All arguments with what they take."""
    document = json.loads(files("qsql.train").joinpath("arguments.json").read_text(encoding="utf-8"))
    return {
        name: Key(frozenset(entry["kinds"]), tuple(entry.get("choices", ())))
        for name, entry in document["arguments"].items()
    }


@cache
def known_templates() -> list[str]:
    """Names of all templates."""
    document = json.loads(files("qsql.train").joinpath("arguments.json").read_text(encoding="utf-8"))
    return list(document["templates"])
