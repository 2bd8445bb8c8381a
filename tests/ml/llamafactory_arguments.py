"""The arguments that the installed LLaMA-Factory takes, as `qsql/train/arguments.json` lists them.

`python tests/ml/llamafactory_arguments.py` writes the list anew.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
from importlib.metadata import version
from pathlib import Path

from qsql.train.worker import provide_torchaudio

LIST = Path(__file__).parents[2] / "python" / "qsql" / "train" / "arguments.json"
KINDS = {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "dict", type(None): "null"}


def kinds_and_choices(hint):
    """Split a type into the kinds of values it takes, and the texts if not all."""
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        kinds, choices = set(), []
        for part in typing.get_args(hint):
            more, texts = kinds_and_choices(part)
            kinds |= more
            choices += texts
        return kinds, choices
    if origin is typing.Literal:
        values = typing.get_args(hint)
        return {KINDS[type(value)] for value in values}, [value for value in values if isinstance(value, str)]
    if isinstance(origin, type):
        return {KINDS[origin]}, []
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"str"}, [member.value for member in hint]
    return {KINDS.get(hint, "str")}, []


def installed_arguments():
    """List every argument of `llamafactory-cli train` with what it takes."""
    provide_torchaudio()
    from llamafactory.hparams import parser  # noqa: PLC0415 - heavy, and needs the stand-in

    arguments = {}
    for group in parser._TRAIN_ARGS:
        hints = typing.get_type_hints(group)
        for field in dataclasses.fields(group):
            if field.init:
                kinds, choices = kinds_and_choices(hints[field.name])
                arguments[field.name] = {"kinds": sorted(kinds), **({"choices": choices} if choices else {})}
    return dict(sorted(arguments.items()))


def installed_templates():
    """List the names of all templates."""
    provide_torchaudio()
    from llamafactory.data.template import TEMPLATES  # noqa: PLC0415 - heavy, and needs the stand-in

    return sorted(TEMPLATES)


if __name__ == "__main__":
    document = {"llamafactory": version("llamafactory"), "arguments": installed_arguments()}
    lines = [f"    {json.dumps(name)}: {json.dumps(entry)}" for name, entry in document["arguments"].items()]
    head = f'{{\n  "llamafactory": {json.dumps(document["llamafactory"])},\n'
    head += f'  "templates": {json.dumps(installed_templates())},\n  "arguments": {{\n'
    LIST.write_text(head + ",\n".join(lines) + "\n  }\n}\n", encoding="utf-8")
