"""The run directory: which files it has, what is in them, and how they are written so that nothing is lost.

`verdicts.jsonl` holds one line per example, `examples.jsonl` its texts, `summary.json` the totals, `run.json`
everything needed to do it again.
While a run is going on its finished verdicts stand in `verdicts.jsonl.partial`, in any order; the same command takes
them up again.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, TextIO

from qsql import files, records
from qsql._core import QsqlError
from qsql.outputs import is_occupied
from qsql.records import COMPONENTS, STATES
from qsql.shapes import ANY, OBJECT, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from qsql.data import Example

SCHEMA_VERSION = 1
VERDICTS, PARTIAL, SUMMARY, RUN = "verdicts.jsonl", "verdicts.jsonl.partial", "summary.json", "run.json"
PREDICTIONS, EXAMPLES, REPAIRS = "predictions.jsonl", "examples.jsonl", "repairs.jsonl"
COMMANDS = ("training", "generation", "evaluation")
"""The parts of `run.json`."""
EVALUATION_FILES = (VERDICTS, PARTIAL, EXAMPLES, SUMMARY)
"""What `qsql eval` writes, beside its part of `run.json`."""
GENERATION_FILES = (PREDICTIONS, REPAIRS)
"""What `qsql generate` writes, beside its part of `run.json`."""


def wilson_interval(correct: int, count: int) -> tuple[float, float] | None:
    """95% confidence interval of a share (Wilson 1927), or None for a share of nothing."""
    if count == 0:
        return None
    z = 1.959963984540054
    share, z2 = correct / count, z * z
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count)) / (1 + z2 / count)
    return (max(0.0, centre - half), min(1.0, centre + half))


def share(values: Iterable[bool | None]) -> tuple[float | None, tuple[float, float] | None]:
    """Share of what is true, with its confidence interval; what is None counts neither way."""
    known = [value for value in values if value is not None]
    correct = sum(known)
    return (correct / len(known) if known else None), wilson_interval(correct, len(known))


def level_summary(verdicts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Totals of some verdicts. Those that could not be scored are in `count` but in no share."""
    exact, exact_interval = share(verdict["exact"] for verdict in verdicts)
    canonical_exact, _ = share(verdict["canonical_exact"] for verdict in verdicts)
    execution, execution_interval = share(verdict["execution"] for verdict in verdicts)
    states = Counter(verdict["state"] for verdict in verdicts)
    return {
        "count": len(verdicts),
        "exact": exact,
        "exact_interval": exact_interval,
        "canonical_exact": canonical_exact,
        "execution": execution,
        "execution_interval": execution_interval,
        "partial": partial_summary([verdict["partial"] for verdict in verdicts if verdict["partial"] is not None]),
        "states": {state: states[state] for state in STATES},
        # Those that are missing are counted by their state.
        "rejected": sum(verdict["rejected"] is not None and verdict["state"] != "missing" for verdict in verdicts),
    }


def partial_summary(partials: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, dict[str, float]] | None:
    """Average partial scores as the official tool does (`evaluate` in its `evaluation.py`).

    Accuracy counts only where the prediction has the component, recall only where the gold has it; F1 is that of the
    two averages, and 1 where both are 0.
    """
    if not partials:
        return None
    summary = {}
    for component in COMPONENTS:
        rows = [partial[component] for partial in partials]
        accuracies = [row[0] for row in rows if row[4] > 0]
        recalls = [row[1] for row in rows if row[3] > 0]
        accuracy = sum(accuracies) / len(accuracies) if accuracies else 0.0
        recall = sum(recalls) / len(recalls) if recalls else 0.0
        f1 = 2.0 * accuracy * recall / (recall + accuracy) if accuracy or recall else 1.0
        summary[component] = {"acc": accuracy, "rec": recall, "f1": f1}
    return summary


def sha256(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        QsqlError: If it cannot be read, or is no file.
    """
    try:
        return _sha256(path)
    except OSError as error:
        raise QsqlError(f"cannot read `{path}`: {error.strerror}\nhint: {files.CHECK_PATH}") from None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with files.open_file(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def suite_hash(paths: Iterable[Path]) -> str:
    """SHA-256 over names and contents of database files by name; of one that cannot be read, the reason counts."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        try:
            content = _sha256(path)
        except OSError as error:
            content = str(error.strerror)
        except QsqlError:
            content = "no file"
        digest.update(f"{path.name}\0{content}\n".encode())
    return digest.hexdigest()


def read_json(path: Path, shape: Shape = ANY, *, allow_nan: bool = False) -> Any:
    """Read a JSON file of a run directory, or of what else a run needs.

    Raises:
        QsqlError: If it cannot be read, is not JSON, or has another shape.
    """
    return files.read_json(path, shape, hint="it may be cut off or of another tool; write it anew", allow_nan=allow_nan)


def read_lines(path: Path, shape: Shape = OBJECT) -> list[dict[str, Any]]:
    """Read a file of JSON lines of a run directory.

    Raises:
        QsqlError: If it cannot be read, or a line is not JSON or has another shape.
    """
    return [item for _, item in files.read_json_lines(path, shape, hint="write the run anew")]


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file whole or not at all: to a temporary name first, then renamed.

    Raises:
        QsqlError: If it cannot be written.
    """
    write_text(path, files.dump_json(document, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, as `write_json` does.

    Raises:
        QsqlError: If it cannot be written.
    """
    files.require_writable(path)
    # A link stays one, and what it leads to is written.
    place = path.resolve()
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place)
    except OSError as error:
        # Where there is no such folder, there is no such file either.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> QsqlError:
    """Build the error for a file that cannot be written."""
    return QsqlError(f"cannot write `{path}`: {error.strerror}\nhint: make room or choose another place")


def make_run_directory(path: Path) -> None:
    """Create a run directory, if it is not there yet.

    Raises:
        QsqlError: If that fails.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None


def run_record(directory: Path) -> dict[str, Any]:
    """Read `run.json`: what each command that was run on a directory has left there; empty if none was.

    Raises:
        QsqlError: If it cannot be read, or is no record of a run.
    """
    path = directory / RUN
    files.require_regular(path)
    if not is_occupied(path):
        return {}
    record = read_json(path)
    hint = "name another run directory"
    if not isinstance(record, dict) or not record.keys() & {"schema_version", *COMMANDS}:
        raise QsqlError(f"`{path}` is no record of a run by qsql\nhint: {hint}")
    files.require_shape(record, records.RUN, f"`{path}` is no record of a run by qsql", hint)
    return record


def write_record(directory: Path, command: str, record: Mapping[str, Any]) -> None:
    """Put how `command` was run into `run.json`, beside what other commands have left there.

    Raises:
        QsqlError: If it cannot be written.
    """
    write_json(directory / RUN, {**run_record(directory), "schema_version": SCHEMA_VERSION, command: record})


def require_own(directory: Path, names: Iterable[str], command: str, way: str = "`--overwrite`") -> dict[str, Any]:
    """See that files of a run directory that `command` writes are its own, if they are there.

    Args:
        directory: The run directory.
        names: The files.
        command: The part of `run.json` that it writes.
        way: What makes it replace others.

    Returns:
        What the command has left in `run.json`; empty if it was not run on the directory.

    Raises:
        QsqlError: If one of them is something else.
    """
    found = run_record(directory).get(command, {})
    foreign = [directory / name for name in names if is_occupied(directory / name)]
    if foreign and not (isinstance(found, dict) and found):
        raise QsqlError(
            f"`{foreign[0]}` exists, and no `{RUN}` tells that qsql wrote it\n"
            f"hint: name another run directory, or replace it with {way}"
        )
    return found if isinstance(found, dict) else {}


def clear_run(directory: Path, names: Iterable[str], commands: Iterable[str]) -> None:
    """Remove files of a run directory, and what commands have left in `run.json`.

    Raises:
        QsqlError: If that fails.
    """
    try:
        run = run_record(directory)
    except QsqlError:
        run = {}  # something else, which was to be replaced
    left = {key: value for key, value in run.items() if key not in commands}
    try:
        for name in names:
            (directory / name).unlink(missing_ok=True)
        if not left.keys() - {"schema_version"}:
            (directory / RUN).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(directory, error) from None
    if left.keys() - {"schema_version"}:
        write_json(directory / RUN, left)


def finished_verdicts(directory: Path, fingerprint: str, examples: Sequence[Example]) -> dict[int, dict[str, Any]]:
    """Verdicts of an unfinished run of the same inputs, by their index.

    A line is left out, and its example scored again, if it is not whole, is none of a verdict, or of another example.
    """
    partial = directory / PARTIAL
    if not partial.is_file() or run_record(directory).get("evaluation", {}).get("fingerprint") != fingerprint:
        return {}
    verdicts: dict[int, dict[str, Any]] = {}
    for line in files.read_bytes(partial).splitlines(keepends=True):
        try:
            verdict: Any = files.parse_json(line.decode("utf-8"), f"`{partial}`", "") if line.endswith(b"\n") else None
        except (QsqlError, UnicodeDecodeError):
            continue
        if records.VERDICT.fault(verdict) is not None or not 0 <= verdict["index"] < len(examples):
            continue
        example = examples[verdict["index"]]
        if (verdict["id"], verdict["db_id"]) == (example.id, example.db_id):
            verdicts[verdict["index"]] = verdict
    return verdicts


class VerdictFile:
    """Writes verdicts as they come under a temporary name, which becomes `verdicts.jsonl` when all are there."""

    def __init__(self, directory: Path, finished: Iterable[Mapping[str, Any]]) -> None:
        self._directory = directory
        self._file: TextIO | None = None
        self._lines: dict[int, str] = {}
        # What is finished is kept until it is written anew: a full disk or a kill in between must not take it along.
        temporary = directory / f".{PARTIAL}.{os.getpid()}"
        try:
            self._file = temporary.open("w", encoding="utf-8")
            self.append(finished)
            temporary.replace(directory / PARTIAL)
        except (OSError, QsqlError) as error:
            self._discard()
            temporary.unlink(missing_ok=True)
            raise unwritable(directory / PARTIAL, error) if isinstance(error, OSError) else error from None

    def __enter__(self) -> VerdictFile:  # noqa: PYI034 - `Self` came with Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        # Closing tries once more to write what could not be written, which has been reported.
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def append(self, verdicts: Iterable[Mapping[str, Any]]) -> None:
        """Write verdicts and see to it that they outlive the process.

        Raises:
            QsqlError: If that fails, for instance on a full disk. What was written before stays.
        """
        if self._file is None:
            raise ValueError("the file is closed")
        lines = {verdict["index"]: files.dump_json(verdict) + "\n" for verdict in verdicts}
        try:
            self._file.writelines(lines.values())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self._directory / PARTIAL, error) from None
        self._lines |= lines

    def finish(self) -> None:
        """Give the file its name, with its lines in order: the run is complete.

        Raises:
            QsqlError: If that fails.
        """
        if self._file is not None:
            self._file.close()
            self._file = None
        if list(self._lines) != sorted(self._lines):
            write_text(self._directory / PARTIAL, "".join(self._lines[index] for index in sorted(self._lines)))
        try:
            (self._directory / PARTIAL).replace(self._directory / VERDICTS)
        except OSError as error:
            raise unwritable(self._directory / VERDICTS, error) from None
