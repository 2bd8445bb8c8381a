"""The files of a generation: lines appended batch by batch, taken up again, and put in order at the end.

`predictions.jsonl` has a line for each finished question from the first batch on. Repairs gather in `repairs.jsonl`
beside it until the last one is there, so that `predictions.jsonl` has one line for each question at any time.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, TextIO

from qsql.files import dump_json, parse_json, read_bytes, require_shape
from qsql.results import PREDICTIONS, REPAIRS, run_record, unwritable
from qsql.shapes import INTEGER, NUMBER, TEXT, Kind, ListOf, Nullable, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

Line = dict[str, Any]
_LIST = Kind("a list", (list,))
_REPAIR = Record({"chosen": Nullable(INTEGER), "samples": _LIST, "tokens": INTEGER, "seconds": NUMBER})
_LINE = Record(
    {
        **dict.fromkeys(("id", "db_id", "question", "sql", "completion", "finish_reason"), TEXT),
        **dict.fromkeys(("error", "error_name", "error_detail"), Nullable(TEXT)),
        **dict.fromkeys(("index", "tokens"), INTEGER),
        "seconds": NUMBER,
        "samples": Nullable(ListOf(Record({"sql": TEXT}))),
        "repair": Nullable(_REPAIR),
    }
)
_OTHERS = "choose another `--out`, or remove that folder"


def finished_lines(directory: Path, fingerprint: str) -> tuple[dict[str, Line], dict[str, Line]]:
    """The predictions and the repairs that a run of the same questions and settings has left, by id."""
    if run_record(directory).get("generation", {}).get("fingerprint") != fingerprint:
        return {}, {}
    finished = _whole_lines(directory / PREDICTIONS)
    return finished, _whole_lines(directory / REPAIRS) if finished else {}


def _whole_lines(path: Path) -> dict[str, Line]:
    """Lines by id. The last one is left out if a kill has cut it short, and its question is answered again."""
    lines: dict[str, Line] = {}
    if not path.exists():
        return lines
    for number, text in enumerate(read_bytes(path).splitlines(keepends=True), 1):
        if not text.endswith(b"\n"):
            break
        place = f"`{path}` line {number}"
        line = parse_json(text.decode("utf-8", "replace"), place, _OTHERS)
        require_shape(line, _LINE, place, f"it is no prediction of `qsql generate`; {_OTHERS}")
        lines[line["id"]] = line
    return lines


class LineFile:
    """Appends JSON lines that outlive the process once `append` returns.

    Args:
        path: The file. It starts with `finished`, whole, whatever it held.
        finished: Lines that are there already.

    Raises:
        QsqlError: If it cannot be written.
    """

    def __init__(self, path: Path, finished: Iterable[Mapping[str, Any]] = ()) -> None:
        self._path = path
        rewrite(path, finished)
        try:
            self._file: TextIO = path.open("a", encoding="utf-8")
        except OSError as error:
            raise unwritable(path, error) from None

    def __enter__(self) -> LineFile:  # noqa: PYI034 - `Self` came with Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing tries once more to write what could not be written, which has been reported.
        with contextlib.suppress(OSError):
            self._file.close()

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write lines.

        Raises:
            QsqlError: If that fails, for instance on a full disk. What was written before stays.
        """
        try:
            self._file.writelines(dump_json(line) + "\n" for line in lines)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self._path, error) from None


def rewrite(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file by these lines, whole or not at all.

    Raises:
        QsqlError: If that fails.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(dump_json(line) + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(path, error) from None


def finish(directory: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Put all predictions in their order, repairs in their places: the run is complete.

    Raises:
        QsqlError: If that fails.
    """
    rewrite(directory / PREDICTIONS, lines)
    (directory / REPAIRS).unlink(missing_ok=True)
