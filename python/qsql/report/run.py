"""A finished run, read back from its directory; what it lacks is said, never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from qsql import files, records, results
from qsql._core import QsqlError, database_file
from qsql.features import features_of


@dataclass(frozen=True)
class Item:
    """An example with its prediction and what came of it."""

    question: str | None
    gold: str
    prediction: str | None
    interaction: int
    verdict: dict[str, Any]
    """A line of `verdicts.jsonl`."""

    @property
    def id(self) -> str:
        """Name of the example, unique in its run."""
        return str(self.verdict["id"])

    @property
    def db_id(self) -> str:
        """Its database."""
        return str(self.verdict["db_id"])

    @cached_property
    def features(self) -> list[str]:
        """Features of the gold."""
        return features_of(self.gold)


@dataclass(frozen=True)
class Run:
    """What a run directory holds."""

    directory: Path
    summary: dict[str, Any]
    items: list[Item]
    record: dict[str, Any]
    """`run.json`."""
    database_dir: Path
    """Where the databases are, or were when the run was made."""
    tables: Path | None
    """Spider's `tables.json`, if it was given."""

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.directory.resolve().name

    @property
    def evaluation(self) -> dict[str, Any]:
        """What `run.json` tells of the evaluation."""
        return dict(self.record["evaluation"])

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the evaluation."""
        return dict(self.evaluation["settings"])

    def database(self, db_id: str, file: str | None = None) -> Path:
        """Path of a file of the suite of a database, by default the main one.

        Raises:
            QsqlError: If a name in the run is none of a database, or of a file beside one.
        """
        main = Path(database_file(self.database_dir, db_id))
        if file is None:
            return main
        if {"/", "\\", "\0"} & set(file) or file in {"", ".", ".."}:
            raise QsqlError(f"`{file}` is not the name of a database file\nhint: score the predictions again")
        return main.with_name(file)

    def inputs(self) -> list[Path]:
        """What the run was made from and what it consists of; no output may take the place of any of it."""
        origin = Path(self.evaluation.get("directory", "."))
        own = [self.directory / name for name in (*results.EVALUATION_FILES, *results.GENERATION_FILES, results.RUN)]
        read = [origin / self.settings[name] for name in ("gold", "predictions")]
        databases = [self.database_dir / db_id for db_id in {item.db_id for item in self.items}]
        return [*own, *read, *databases, *([self.tables] if self.tables is not None else [])]

    @cached_property
    def metrics(self) -> list[str]:
        """What was measured: "exact", "execution" or both."""
        return [metric for metric in ("exact", "execution") if self.summary["all"][metric] is not None]


def read_run(directory: Path, database_dir: Path | None = None) -> Run:
    """Read a finished run.

    Args:
        directory: What `qsql eval --out` wrote.
        database_dir: Where the databases are now; by default where they were.

    Raises:
        QsqlError: If the run is not finished, a file is missing, or the files do not belong together.
    """
    if not (directory / results.RUN).is_file():
        raise QsqlError(f"`{directory}` is no run directory: it has no `{results.RUN}`\nhint: give `qsql eval --out`")
    record = results.run_record(directory)
    if "evaluation" not in record:
        raise QsqlError(f"nothing is scored in `{directory}`\nhint: run `qsql eval {directory}` on it first")
    files.require_shape(
        record, records.SCORED_RUN, f"`{directory / results.RUN}`", "run the same `qsql eval` command again"
    )
    if (directory / results.PARTIAL).exists():
        raise QsqlError(f"the run in `{directory}` is not finished\nhint: the same `qsql eval` command goes on with it")
    for name, hint in (
        (results.SUMMARY, "run the same `qsql eval` command again"),
        (results.VERDICTS, "run the same `qsql eval` command again"),
        (results.EXAMPLES, "an earlier qsql scored it; run the same `qsql eval` command again"),
    ):
        if not (directory / name).is_file():
            raise QsqlError(f"`{directory}` has no `{name}`\nhint: {hint}")
    summary = results.read_json(directory / results.SUMMARY, records.SUMMARY)
    if summary["joint_all"]:
        results.read_json(directory / results.SUMMARY, records.SUMMARY_OF_TURNS)
    verdicts = results.read_lines(directory / results.VERDICTS, records.VERDICT)
    examples = results.read_lines(directory / results.EXAMPLES, records.EXAMPLE)
    if not len(verdicts) == len(examples) == summary["all"]["count"]:
        raise QsqlError(
            f"the files of `{directory}` do not belong together: {len(verdicts):,} verdicts, {len(examples):,} "
            f"examples, a summary of {summary['all']['count']:,}\nhint: run the same `qsql eval` command again"
        )
    items = _items(directory, examples, verdicts)
    evaluation = record["evaluation"]
    # Paths are as they were given, which was in this directory.
    origin = Path(evaluation.get("directory", "."))
    tables = evaluation["settings"]["tables"]
    return Run(
        directory,
        summary,
        items,
        record,
        origin / evaluation["settings"]["database_dir"] if database_dir is None else database_dir,
        None if tables is None else origin / tables,
    )


def _items(directory: Path, examples: list[dict[str, Any]], verdicts: list[dict[str, Any]]) -> list[Item]:
    items = []
    for number, (example, verdict) in enumerate(zip(examples, verdicts, strict=True), 1):
        if (example["id"], example["db_id"]) != (verdict["id"], verdict["db_id"]):
            raise QsqlError(
                f"`{directory / results.EXAMPLES}` line {number} is of example `{example['id']}`, that of "
                f"`{results.VERDICTS}` of `{verdict['id']}`\nhint: run the same `qsql eval` command again"
            )
        texts = (example["question"], example["gold"], example["prediction"], example["interaction"])
        items.append(Item(*texts, verdict))
    return items
