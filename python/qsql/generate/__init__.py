"""Generation: questions in, a run directory with predictions out, that `qsql eval` scores.

Three steps, each with its own costs in `run.json`: complete every prompt, check every query against its schema, and,
where asked for, choose among samples (self-consistency for all, repair for those that do not compile).
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from qsql import results
from qsql._core import QsqlError, Scorer, __version__, sqlite_version
from qsql.engines import Completion, Engine, Request, make_engine
from qsql.engines.model import fingerprint
from qsql.generate.predictions import Line, LineFile, finish, finished_lines
from qsql.generate.questions import Question, read_questions
from qsql.generate.selection import Choice, choose, find_faults, make_scorer
from qsql.generate.settings import Settings
from qsql.outputs import is_occupied, refuse_inputs
from qsql.prompt import extract_sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from qsql.engines import Decoding

__all__ = ["Generation", "Interrupted", "Progress", "Settings", "generate"]


class Progress(Protocol):
    """Told now and then how far a step is."""

    def __call__(self, step: str, done: int, total: int, tokens: int) -> object:
        """`done` of `total` questions are through `step`, with so many generated tokens in this run."""


@dataclass(frozen=True)
class Generation:
    """The outcome of a run: what its directory holds, and what it cost."""

    predictions: list[Line]
    """The lines of `predictions.jsonl`."""
    outcome: dict[str, Any]
    """Counts and costs, as in `run.json`."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or what ends a command like it, while questions are answered.

    Attributes:
        finished: How many predictions are in the run directory.
        total: How many there will be.
    """

    def __init__(self, finished: int, total: int) -> None:
        super().__init__(finished, total)
        self.finished, self.total = finished, total


def generate(
    settings: Settings,
    out: Path,
    argv: Sequence[str] = (),
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
) -> Generation:
    """Answer questions, and write the run directory `out`.

    A run directory with an unfinished run of the same questions, model and settings is taken up where it stopped.

    Args:
        settings: What to answer, with what, and how.
        out: The run directory, created if need be.
        argv: The command line, for the record.
        progress: Called behind every batch.
        overwrite: Replace what `out` holds, be it another run or files of something else.

    Raises:
        QsqlError: If an input cannot be used, the engine cannot go on, or `out` holds another run. Finished batches are
            in the run directory.
        KeyboardInterrupt: An `Interrupted` once the run has begun; finished batches are in the run directory.
    """
    started = time.perf_counter()
    questions = read_questions(settings.data, settings.tables, settings.db, settings.split)[: settings.limit]
    scorer = None
    if settings.db is not None and (settings.repair or settings.self_consistency):
        scorer = make_scorer(settings.db, [question.db_id for question in questions])
    record = _record(settings, argv, questions)
    _require_place(out, record, settings, overwrite=overwrite)
    results.make_run_directory(out)
    done, repaired = finished_lines(out, record["fingerprint"])
    before = results.run_record(out)["generation"] if done else {}
    results.write_record(out, "generation", {**record, "engine": before.get("engine")})
    run = _Run(settings, out, questions, scorer, progress)
    try:
        run.complete(done)
        if settings.repair:
            run.repair(repaired)
        lines = [run.lines[question.id] for question in questions]
        finish(out, lines)
        engine = run.described()
    except KeyboardInterrupt as interrupt:
        # What the file holds, however far the interrupted one came with writing.
        kept, _ = finished_lines(out, record["fingerprint"])
        raise Interrupted(len(kept), len(questions)) from interrupt
    finally:
        run.close()
    outcome = {
        "finished": True,
        "resumed": len(done),
        **_counts(lines),
        "wall_seconds": {**run.seconds, "all": round(time.perf_counter() - started, 3)},
    }
    results.write_record(out, "generation", {**record, "engine": engine or before.get("engine"), "outcome": outcome})
    return Generation(lines, outcome)


def _require_place(out: Path, record: Mapping[str, Any], settings: Settings, *, overwrite: bool) -> None:
    """See that the predictions may be written to a run directory; see `qsql.outputs` for what may be replaced."""
    files = (*results.GENERATION_FILES, *results.EVALUATION_FILES)
    inputs = [path for path in (settings.data, settings.tables, settings.db) if path is not None and path.is_file()]
    for name in (*files, results.RUN):
        refuse_inputs(out / name, inputs)
    try:
        earlier = results.require_own(out, results.GENERATION_FILES, "generation")
    except QsqlError:
        if not overwrite:
            raise
        earlier = {}
    if earlier.get("fingerprint") == record["fingerprint"]:
        return
    if overwrite:
        results.clear_run(out, files, {"generation", "evaluation"})
        return
    hint = "choose another `--out`, or replace this run with `--overwrite`"
    if any(is_occupied(out / name) for name in results.GENERATION_FILES):
        raise QsqlError(
            f"`{out / results.PREDICTIONS}` holds predictions of other questions, another model or other settings\n"
            f"hint: {hint}"
        )
    if any(is_occupied(out / name) for name in results.EVALUATION_FILES):
        raise QsqlError(f"`{out}` holds an evaluation of other predictions\nhint: {hint}")


class _Run:
    """The steps of a run. The engine is made only if something is left to do."""

    def __init__(
        self,
        settings: Settings,
        out: Path,
        questions: Sequence[Question],
        scorer: Scorer | None,
        progress: Progress | None,
    ) -> None:
        self._settings, self._out, self._questions = settings, out, questions
        self._scorer, self._progress = scorer, progress
        self._engine: Engine | None = None
        self._tokens = 0
        self.lines: dict[str, Line] = {}
        self.seconds: dict[str, float] = {}

    def complete(self, finished: Mapping[str, Line]) -> None:
        """Answer every question that is not finished."""
        self.lines = dict(finished)
        waiting = [place for place, question in enumerate(self._questions) if question.id not in self.lines]
        with LineFile(self._out / results.PREDICTIONS, self.lines.values()) as file:
            for batch in self._batches("generating", waiting, self._settings.decoding):
                lines = self._answered(batch)
                file.append(lines)
                self.lines.update((line["id"], line) for line in lines)

    def repair(self, finished: Mapping[str, Line]) -> None:
        """Sample for every prediction that does not compile, and take the most common query that does."""
        self.lines.update(finished)
        waiting = [
            place
            for place, question in enumerate(self._questions)
            if (line := self.lines[question.id])["error"] is not None and line["repair"] is None
        ]
        if not waiting:
            return
        with LineFile(self._out / results.REPAIRS, finished.values()) as file:
            for batch in self._batches("repairing", waiting, self._settings.repair_decoding()):
                lines = self._repaired(batch)
                file.append(lines)
                self.lines.update((line["id"], line) for line in lines)

    def described(self) -> dict[str, Any] | None:
        """What the engine says of itself; None if there was nothing left to do."""
        if self._engine is None:
            return None
        memory = getattr(self._engine, "memory", None)
        return {**self._engine.describe(), **({"memory": memory()} if memory is not None else {})}

    def close(self) -> None:
        """Let go of the engine."""
        if self._engine is not None:
            self._engine.close()

    def _batches(
        self, step: str, waiting: Sequence[int], decoding: Decoding
    ) -> Iterable[list[tuple[int, list[Completion]]]]:
        """Completions of the waiting questions, batch by batch, under their places."""
        if not waiting:
            return
        if self._engine is None:
            started = time.perf_counter()
            self._engine = make_engine(self._settings.engine)
            self.seconds["loading"] = round(time.perf_counter() - started, 3)
        started = time.perf_counter()
        done = len(self._questions) - len(waiting) if step == "generating" else 0
        total = len(self._questions) if step == "generating" else len(waiting)
        questions = [self._questions[place] for place in waiting]
        requests = [Request(question.id, question.prompt, question.gold) for question in questions]
        self._tell(step, done, total)
        for batch in self._engine.generate(requests, decoding):
            yield [(waiting[place], completions) for place, completions in batch]
            done += len(batch)
            self._tokens += sum(completion.tokens for _, completions in batch for completion in completions)
            self._tell(step, done, total)
        self.seconds[step] = round(time.perf_counter() - started, 3)

    def _tell(self, step: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(step, done, total, self._tokens)

    def _answered(self, batch: Sequence[tuple[int, list[Completion]]]) -> list[Line]:
        """The lines of a batch: the first completion of each question, or the one that wins the vote."""
        questions = [self._questions[place] for place, _ in batch]
        queries = [[extract_sql(completion.text) for completion in completions] for _, completions in batch]
        choices: list[Choice | None] = [None] * len(batch)
        if self._settings.self_consistency:
            choices = list(self._vote(questions, queries))
        taken = [choice.chosen or 0 if choice is not None else 0 for choice in choices]
        faults = find_faults(
            [question.schema for question in questions],
            [own[number] for own, number in zip(queries, taken, strict=True)],
        )
        lines = []
        for (place, completions), own, number, fault, choice in zip(
            batch, queries, taken, faults, choices, strict=True
        ):
            question, completion = self._questions[place], completions[number]
            lines.append(
                {
                    "index": place,
                    "id": question.id,
                    "db_id": question.db_id,
                    "question": question.question,
                    "prompt_sha256": question.prompt_hash(),
                    "sql": own[number],
                    "completion": completion.text,
                    "finish_reason": completion.finish_reason,
                    "tokens": sum(one.tokens for one in completions),
                    "seconds": _seconds(completions),
                    "error": None if fault is None else fault.error,
                    "error_name": None if fault is None else fault.name,
                    "error_detail": None if fault is None else fault.detail,
                    "samples": _samples(completions, own) if len(completions) > 1 else None,
                    "vote": None if choice is None else _vote_record(choice),
                    "repair": None,
                }
            )
        return lines

    def _repaired(self, batch: Sequence[tuple[int, list[Completion]]]) -> list[Line]:
        """The lines of repaired questions. Where nothing compiles, the prediction stays what it was."""
        questions = [self._questions[place] for place, _ in batch]
        queries = [[extract_sql(completion.text) for completion in completions] for _, completions in batch]
        lines = []
        for question, (_, completions), own, choice in zip(
            questions, batch, queries, self._vote(questions, queries), strict=True
        ):
            line = dict(self.lines[question.id])
            line["repair"] = {
                **_vote_record(choice),
                "tokens": sum(one.tokens for one in completions),
                "seconds": _seconds(completions),
                "samples": _samples(completions, own),
                "before": {key: line[key] for key in ("sql", "completion", "error", "error_name", "error_detail")},
            }
            if choice.chosen is not None:
                taken = completions[choice.chosen]
                line |= {
                    "sql": own[choice.chosen],
                    "completion": taken.text,
                    "finish_reason": taken.finish_reason,
                    "error": None,
                    "error_name": None,
                    "error_detail": None,
                }
            lines.append(line)
        return lines

    def _vote(self, questions: Sequence[Question], queries: Sequence[Sequence[str]]) -> list[Choice]:
        started = time.perf_counter()
        choices = choose(
            queries,
            [question.schema for question in questions],
            [question.db_id for question in questions],
            self._scorer,
        )
        spent = self.seconds.get("voting", 0.0) + time.perf_counter() - started
        self.seconds["voting"] = round(spent, 3)
        return choices


def _samples(completions: Sequence[Completion], queries: Sequence[str]) -> list[Line]:
    return [
        {"sql": query, "completion": one.text, "finish_reason": one.finish_reason, "tokens": one.tokens}
        for query, one in zip(queries, completions, strict=True)
    ]


def _seconds(completions: Iterable[Completion]) -> float:
    return round(sum(one.seconds for one in completions), 6)


def _vote_record(choice: Choice) -> Line:
    return {
        "chosen": choice.chosen,
        "votes": choice.votes,
        "compiling": choice.compiling,
        "ran": choice.ran,
    }


def _counts(lines: Sequence[Line]) -> dict[str, Any]:
    """What all lines sum up to, finished in this run or before."""
    repairs = [line["repair"] for line in lines if line["repair"] is not None]
    return {
        "questions": len(lines),
        "compiling": sum(line["error"] is None for line in lines),
        "errors": dict(Counter(line["error"] for line in lines if line["error"] is not None).most_common()),
        "finish_reasons": dict(Counter(line["finish_reason"] for line in lines).most_common()),
        "completions": sum(len(line["samples"] or [0]) for line in lines),
        "tokens": sum(line["tokens"] for line in lines),
        "seconds": round(sum(line["seconds"] for line in lines), 3),
        "repair": {
            "questions": len(repairs),
            "repaired": sum(repair["chosen"] is not None for repair in repairs),
            "completions": sum(len(repair["samples"]) for repair in repairs),
            "tokens": sum(repair["tokens"] for repair in repairs),
            "seconds": round(sum(repair["seconds"] for repair in repairs), 3),
        }
        if repairs
        else None,
    }


def _record(settings: Settings, argv: Sequence[str], questions: Sequence[Question]) -> dict[str, Any]:
    """Describe everything that the predictions depend on, and where they were made."""
    prompts = hashlib.sha256()
    for question in questions:
        prompts.update(f"{question.id}\0{question.db_id}\0{question.prompt_hash()}\n".encode())
    resolved = settings.record()
    # These decide how fast it goes and where, not what comes out.
    without = {
        *("data", "tables", "db", "split", "limit", "batch_tokens", "batch_rows", "devices"),
        *("concurrency", "retries", "request_timeout"),
    }
    decisive = {
        "prompts": prompts.hexdigest(),
        "model": fingerprint(settings.engine.model),
        "databases": settings.db is not None and (settings.repair or settings.self_consistency is not None),
        "settings": {key: value for key, value in resolved.items() if key not in without},
    }
    return {
        "argv": list(argv),
        "settings": resolved,
        "sha256": {
            "data": results.sha256(settings.data) if settings.data.is_file() else None,
            "tables": results.sha256(settings.tables) if settings.tables is not None else None,
            "prompts": decisive["prompts"],
            "model": decisive["model"],
        },
        "versions": {"qsql": __version__, "sqlite": sqlite_version(), "python": platform.python_version()},
        "platform": platform.platform(),
        "fingerprint": hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest(),
    }
