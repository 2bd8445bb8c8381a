"""`dataset_info.json`, in which LLaMA-Factory looks up data sets: which file an entry stands for, and which columns.

It has more ways to name rows than a file: repositories, scripts, addresses, slices, samples. Where an entry uses one,
rows other than those of its file are trained on, so only entries that say no more than we check are taken.
Definition: `llamafactory/data/parser.py` and `loader.py` of LLaMA-Factory 0.9.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.config import nearest
from qsql.paths import is_inside
from qsql.visible import listed

if TYPE_CHECKING:
    from pathlib import Path

FILE = "dataset_info.json"
ELSEWHERE = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
"""Keys that go before `file_name`, whatever their value."""
PARTS = ("subset", "folder", "num_samples")
"""Keys by which other rows are taken than those of the file."""
COLUMNS = ("prompt", "query", "response")
"""The columns of an example that are known here; others put more into it."""
_HINT = 'hint: `qsql data prepare` writes entries such as {"file_name": "train.json", "columns": {...}}'


@dataclass(frozen=True)
class Entry:
    """A data set of a folder."""

    file_name: str
    """Of its JSON file, below the folder."""
    prompt: str
    """The key of the prompt in an example."""
    response: str
    """The key of the SQL in an example."""
    query: str | None
    """The key of what LLaMA-Factory puts below the prompt, where an example has it."""


def entry_of(path: Path, info: Any, name: str, place: str) -> Entry:
    """Look a data set up.

    Args:
        path: Of the file, for messages.
        info: What is in it.
        name: Of the data set.
        place: Where the name stands, for messages.

    Raises:
        QsqlError: If there is none of this name, or other rows would be read than those of a JSON file of the folder.
    """
    known = [key for key, value in info.items() if isinstance(value, dict)] if isinstance(info, dict) else []
    if name not in known:
        guess = nearest(name, known)
        hint = f"did you mean `{guess}`?" if guess else f"it has {listed(f'`{entry}`' for entry in known) or 'none'}"
        raise QsqlError(f"{place}: `{path}` has no data set `{name}`\nhint: {hint}")
    entry = info[name]
    for key in (*ELSEWHERE, *PARTS):
        if key in entry:
            raise QsqlError(
                f"`{path}`: `{name}` has `{key}`, by which LLaMA-Factory takes other rows than its file has\n{_HINT}"
            )
    for key, value in (("formatting", "alpaca"), ("ranking", False), ("split", "train")):
        if entry.get(key, value) != value:
            raise QsqlError(f"`{path}`: `{name}` has `{key}` {entry[key]!r:.80}, not {value!r}\n{_HINT}")
    file_name = entry.get("file_name")
    if not isinstance(file_name, str) or not is_inside(file_name) or not file_name.endswith(".json"):
        raise QsqlError(
            f"`{path}`: the file of `{name}` is {file_name!r:.80}, which names no .json file of this folder\n{_HINT}"
        )
    columns = entry.get("columns", {"prompt": "instruction", "query": "input", "response": "output"})
    if not isinstance(columns, dict) or not all(isinstance(value, str | None) for value in columns.values()):
        raise QsqlError(f"`{path}`: the columns of `{name}` are not names by what they hold\n{_HINT}")
    if others := [key for key, value in columns.items() if key not in COLUMNS and value is not None]:
        raise QsqlError(
            f"`{path}`: `{name}` has the column `{others[0]}`, which would be trained on unchecked\n{_HINT}"
        )
    # Where columns are named, those that are not are not there.
    prompt, response = columns.get("prompt"), columns.get("response")
    if not prompt or not response:
        raise QsqlError(f"`{path}`: the columns of `{name}` lack prompt or response\n{_HINT}")
    return Entry(file_name, prompt, response, columns.get("query"))
