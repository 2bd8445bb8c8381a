"""Golds, predictions and databases in; verdicts, a summary and a run directory out. The scoring itself is native."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qsql import results
from qsql._core import QsqlError, Scorer, Verdict, __version__, sqlite_compile_options, sqlite_version
from qsql.data import Example, Pairing, read_examples, read_predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Etype = Literal["all", "exec", "match"]
BATCH = 512
"""Examples scored per native call; a run that is stopped loses the verdicts of one at most."""


@dataclass(frozen=True)
class Settings:
    """What to score, and by which rules."""

    gold: Path
    predictions: Path
    database_dir: Path
    tables: Path | None = None
    etype: Etype = "all"
    plug_value: bool = False
    keep_distinct: bool = False
    credit_empty: bool = True
    threads: int | None = None
    timeout: float = 30.0
    max_steps: int = 1_000_000_000
    max_memory: int = 128 << 20
    cache_dir: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """The outcome of a run: what its directory holds, and what went wrong with its inputs."""

    summary: dict[str, Any]
    verdicts: list[dict[str, Any]]
    examples: list[Example]
    pairing: Pairing
    cache_problem: str | None
    """Why results of golds could not be kept for the next run, if they could not."""

    def items(self) -> Iterator[tuple[Example, dict[str, Any]]]:
        """Go through the examples with their verdicts."""
        return zip(self.examples, self.verdicts, strict=True)

    @property
    def gold_errors(self) -> list[tuple[Example, dict[str, Any]]]:
        """Examples whose gold fails, with their verdicts."""
        return [(example, verdict) for example, verdict in self.items() if verdict["state"] == "gold_error"]


def evaluate(
    settings: Settings,
    out: Path | None = None,
    argv: Sequence[str] = (),
    progress: Callable[[int, int], object] | None = None,
) -> Evaluation:
    """Score predictions against golds, and write the run directory `out` if one is given.

    A run directory with an unfinished run of the same inputs is taken up where it stopped.

    Args:
        settings: What to score.
        out: The run directory, created if need be.
        argv: The command line, for the record.
        progress: Called now and then with the number of scored examples and of all.

    Raises:
        QsqlError: If an input cannot be used. Whatever is wrong with single predictions or golds is in their verdicts.
        KeyboardInterrupt: Soon after Ctrl-C; finished batches are in the run directory.
    """
    started = time.perf_counter()
    examples = read_examples(settings.gold)
    pairing = read_predictions(settings.predictions, examples)
    scorer = Scorer(
        settings.database_dir,
        settings.tables,
        plug_value=settings.plug_value,
        keep_distinct=settings.keep_distinct,
        credit_empty=settings.credit_empty,
        threads=settings.threads,
        timeout=settings.timeout,
        max_steps=settings.max_steps,
        max_memory=settings.max_memory,
        cache_dir=settings.cache_dir,
    )
    suites = _suites(scorer, examples, settings)
    if out is None:
        verdicts = _score(scorer, settings.etype, examples, pairing, [], None, progress)
        summary = _summary(verdicts, examples, pairing, suites, scorer, started)
        return Evaluation(summary, verdicts, examples, pairing, scorer.cache_problem)
    results.make_run_directory(out)
    record = _record(settings, argv, suites)
    finished = results.finished_verdicts(out, record["fingerprint"])
    results.write_record(out, "evaluation", record)
    with results.VerdictFile(out, finished) as file:
        results.write_text(out / results.EXAMPLES, _texts(examples, pairing))
        verdicts = _score(scorer, settings.etype, examples, pairing, finished, file, progress)
        summary = _summary(verdicts, examples, pairing, suites, scorer, started)
        file.finish()
    results.write_json(out / results.SUMMARY, summary)
    return Evaluation(summary, verdicts, examples, pairing, scorer.cache_problem)


def _suites(scorer: Scorer, examples: Sequence[Example], settings: Settings) -> dict[str, list[Path]]:
    """Find the databases of every example before anything is scored."""
    suites: dict[str, list[Path]] = {}
    for example in examples:
        if example.db_id not in suites:
            try:
                suites[example.db_id] = [Path(file) for file in scorer.databases(example.db_id)]
            except QsqlError as error:
                raise QsqlError(f"`{settings.gold}` line {example.line}: {error}") from None
    return suites


def _score(
    scorer: Scorer,
    etype: Etype,
    examples: Sequence[Example],
    pairing: Pairing,
    finished: Sequence[dict[str, Any]],
    file: results.VerdictFile | None,
    progress: Callable[[int, int], object] | None,
) -> list[dict[str, Any]]:
    """Score what is not finished, batch by batch."""
    verdicts = list(finished)
    while len(verdicts) < len(examples):
        start = len(verdicts)
        batch = examples[start : start + BATCH]

        def report(done: int, total: int, start: int = start, size: int = len(batch)) -> None:
            if progress is not None and total:
                progress(start + size * done // total, len(examples))

        found = scorer.score(
            [example.query for example in batch],
            pairing.predictions[start : start + BATCH],
            [example.db_id for example in batch],
            etype,
            progress=report,
        )
        lines = [
            _line(start + offset, example, verdict)
            for offset, (example, verdict) in enumerate(zip(batch, found, strict=True))
        ]
        if file is not None:
            file.append(lines)
        verdicts += lines
        if progress is not None:
            progress(len(verdicts), len(examples))
    return verdicts


def _texts(examples: Sequence[Example], pairing: Pairing) -> str:
    """Write what reports show of the examples, so that a run directory can be read where its inputs are not."""
    lines = (
        {
            "index": index,
            "id": example.id,
            "db_id": example.db_id,
            "interaction": example.interaction,
            "question": pairing.questions.get(example.id) if example.question is None else example.question,
            "gold": example.query,
            "prediction": prediction,
        }
        for index, (example, prediction) in enumerate(zip(examples, pairing.predictions, strict=True))
    )
    # Escaped, since bytes that are not UTF-8 stand in predictions as lone surrogates.
    return "".join(json.dumps(line) + "\n" for line in lines)


def _line(index: int, example: Example, verdict: Verdict) -> dict[str, Any]:
    return {"index": index, "id": example.id, "db_id": example.db_id, "turn": example.turn, **verdict.to_dict()}


def _summary(
    verdicts: Sequence[dict[str, Any]],
    examples: Sequence[Example],
    pairing: Pairing,
    suites: dict[str, list[Path]],
    scorer: Scorer,
    started: float,
) -> dict[str, Any]:
    levels = {
        level: results.level_summary([verdict for verdict in verdicts if verdict["hardness"] == level])
        for level in results.LEVELS
    }
    interactions = {}
    if examples[-1].interaction > 0:
        turn_names = [results.TURNS[min(example.turn, 5) - 1] for example in examples]
        for turn in results.TURNS:
            of_turn = [verdict for verdict, name in zip(verdicts, turn_names, strict=True) if name == turn]
            interactions[turn] = results.level_summary(of_turn)
    return {
        "schema_version": results.SCHEMA_VERSION,
        **levels,
        "all": results.level_summary(verdicts),
        "joint_all": _joint(verdicts, examples) if interactions else None,
        **interactions,
        "gold_rejected": sum(verdict["gold_rejected"] is not None for verdict in verdicts),
        "capped": sum(verdict["capped"] for verdict in verdicts),
        "surplus_predictions": pairing.surplus,
        "databases": sum(map(len, suites.values())),
        "executions": scorer.executions,
        "threads": scorer.threads,
        "seconds": round(time.perf_counter() - started, 3),
    }


def _joint(verdicts: Sequence[dict[str, Any]], examples: Sequence[Example]) -> dict[str, Any]:
    """Share of the interactions in which every turn is right; an interaction without turns is, officially."""
    count = examples[-1].interaction + 1
    totals: dict[str, Any] = {"count": count}
    for metric in ("exact", "execution"):
        right = [True] * count
        for example, verdict in zip(examples, verdicts, strict=True):
            right[example.interaction] &= verdict[metric] is True
        asked = any(verdict[metric] is not None for verdict in verdicts)
        totals[metric], totals[f"{metric}_interval"] = results.share(right if asked else [])
    return totals


def _record(settings: Settings, argv: Sequence[str], suites: dict[str, list[Path]]) -> dict[str, Any]:
    """Describe everything that the verdicts depend on, and where they were made."""
    inputs = {
        "gold": results.sha256(settings.gold),
        "predictions": results.sha256(settings.predictions),
        "tables": results.sha256(settings.tables) if settings.tables else None,
        "suites": {db_id: results.suite_hash(files) for db_id, files in sorted(suites.items())},
    }
    resolved = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings).items()}
    versions = {"qsql": __version__, "sqlite": sqlite_version(), "python": platform.python_version()}
    without = {"gold", "predictions", "database_dir", "tables", "threads", "cache_dir"}
    rules = {key: value for key, value in resolved.items() if key not in without}
    decisive = [inputs, rules, versions["qsql"], versions["sqlite"]]
    return {
        "argv": list(argv),
        "directory": str(Path.cwd()),
        "settings": resolved,
        "sha256": inputs,
        "versions": versions,
        "sqlite_compile_options": sqlite_compile_options(),
        "platform": platform.platform(),
        "fingerprint": hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest(),
    }
