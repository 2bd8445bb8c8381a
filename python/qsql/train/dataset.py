"""The prepared data set that a configuration names: its files, hashes and examples.

The folder holds LLaMA-Factory's `dataset_info.json` and, where `qsql data prepare` has written it, `report.json`
with the hashes of its files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsql import results
from qsql._core import QsqlError
from qsql.dataset_info import FILE, entry_of
from qsql.shapes import TEXT, MapOf, Record

if TYPE_CHECKING:
    from qsql.config import Config

_REPORT = Record({}, {"outputs": MapOf(TEXT)})
CHARACTERS_PER_TOKEN = 3.0
"""Of schemas and SQL; low, so that lengths are rather over- than underestimated (Qwen's tokenizer has 3.3)."""


@dataclass(frozen=True)
class Part:
    """A set of examples, such as the training set."""

    name: str
    path: Path
    sha256: str
    verified: bool
    """Whether `report.json` has the same hash."""
    examples: list[dict[str, Any]]
    prompt: str
    """The key of the prompt in an example."""
    response: str
    """The key of the SQL in an example."""
    query: str | None
    """The key of what LLaMA-Factory puts below the prompt, where an example has it."""

    def instruction(self, example: dict[str, Any]) -> str:
        """The whole prompt of an example, as LLaMA-Factory makes it."""
        below = example.get(self.query) if self.query else None
        return f"{example[self.prompt]}\n{below}" if below else str(example[self.prompt])

    def lengths(self, cutoff: int) -> list[int]:
        """Estimated length of each example in tokens, at most `cutoff`."""
        characters = (len(self.instruction(example)) + len(example[self.response]) for example in self.examples)
        return [min(cutoff, int(count / CHARACTERS_PER_TOKEN) + 8) for count in characters]


def read_parts(config: Config, key: str) -> list[Part]:
    """Read the sets of examples that `dataset` or `eval_dataset` names, and check them.

    Raises:
        QsqlError: If a file is missing, is not what its hash says, or has entries without prompt or SQL.
    """
    names = str(config.values.get(key) or "")
    folder = Path(str(config.values.get("dataset_dir") or "data"))
    parts = [name.strip() for name in names.split(",") if name.strip()]
    if not parts:
        return []
    if str(folder) == "ONLINE" or str(folder).startswith("REMOTE:"):
        raise QsqlError(
            f"{config.place('dataset_dir')}: `{folder}` is LLaMA-Factory's word for data sets on the hub\n"
            "hint: fetch and check them with `qsql data prepare`, and name its folder"
        )
    if not folder.is_dir():
        raise QsqlError(
            f"{config.place('dataset_dir')}: there is no folder `{folder}`\n"
            "hint: make it with `qsql data prepare`, or set `dataset_dir`"
        )
    info = results.read_json(folder / FILE)
    hashes = _hashes(folder)
    return [_part(name, folder, info, hashes, config.place(key)) for name in parts]


def _hashes(folder: Path) -> dict[str, str]:
    report = folder / "report.json"
    return dict(results.read_json(report, _REPORT).get("outputs", {})) if report.is_file() else {}


def _part(name: str, folder: Path, info: Any, hashes: dict[str, str], place: str) -> Part:
    entry = entry_of(folder / FILE, info, name, place)
    path = folder / entry.file_name
    examples = results.read_json(path)
    digest = results.sha256(path)
    expected = hashes.get(entry.file_name)
    if expected is not None and expected != digest:
        raise QsqlError(
            f"`{path}` is not the file that was prepared: its SHA-256 is {digest[:16]}..., `report.json` has "
            f"{expected[:16]}...\nhint: prepare the data again, or take the file out of `report.json`"
        )
    if not isinstance(examples, list) or not examples:
        raise QsqlError(f"`{path}` has no examples\nhint: it is a list of objects; prepare the data again")
    for number, example in enumerate(examples, 1):
        for column in (entry.prompt, entry.response):
            if not isinstance(example, dict) or not isinstance(example.get(column), str) or not example[column].strip():
                raise QsqlError(
                    f"`{path}` entry {number} has no `{column}`\nhint: `dataset_info.json` says which columns it has"
                )
    return Part(name, path, digest, expected is not None, examples, entry.prompt, entry.response, entry.query)
