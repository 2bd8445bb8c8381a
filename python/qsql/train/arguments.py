"""The arguments of `llamafactory-cli train`: the vocabulary of the files in `configs/train`.

The list is that of LLaMA-Factory 0.9.5, written from its own definitions by
`tests/ml/llamafactory_arguments.py`, so that a configuration can be checked where LLaMA-Factory is not installed.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from qsql._core import QsqlError
from qsql.config import Config, Key

_BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        ("per_device_train_batch_size", "gradient_accumulation_steps", "cutoff_len", "lora_rank", "max_samples"),
        (1, 1e9),
    ),
    "num_train_epochs": (1e-9, 1e6),
    "save_steps": (1e-9, 1e9),
    "val_size": (0, 1e9),
    "save_total_limit": (0, 1e9),
}
"""Of arguments that the plan calculates with, the least and the largest value."""
_MAY_BE_NULL = frozenset({"max_samples", "save_total_limit", "val_size"})


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


def require_sound(config: Config) -> None:
    """See that numbers of a configuration are such as can be calculated with.

    Raises:
        QsqlError: If one is missing, is no finite number, or is too small or too large.
    """
    for key, (least, most) in _BOUNDS.items():
        value = config.values.get(key, least)
        if value is None and key in _MAY_BE_NULL:
            continue
        if value is None or not least <= float(value) <= most:
            rule = f"{least:g} or more" if least >= 1 or least == 0 else "above 0"
            raise QsqlError(f"{config.place(key)}: `{key}` is {value}\nhint: it is {rule}, and at most {most:g}")
