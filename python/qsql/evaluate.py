"""Golds, predictions and databases in; verdicts, a summary and a run directory out. The scoring itself is native."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qsql import records, results
from qsql._core import QsqlError, Scorer, Verdict, __version__, sqlite_compile_options, sqlite_version
from qsql.data import Example, Pairing, read_examples, read_predictions
from qsql.outputs import is_occupied, is_same, refuse_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Etype = Literal["all", "exec", "match"]
BATCH = 512
"""Examples scored per native call. Verdicts are written behind each, and twice a second in those that take longer."""
_NO_RULES = frozenset({"gold", "predictions", "database_dir", "tables", "threads", "cache_dir"})
"""Settings that are no rules: paths, whose content counts, and what changes no verdict."""
UNREADABLE = "database: "
"""How details begin of items whose database cannot be read, be it at the start or when their turn comes."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or what ends a command like it, while examples are scored.

    Attributes:
        finished: How many verdicts are in the run directory.
        total: How many there will be.
    """

    def __init__(self, finished: int, total: int) -> None:
        super().__init__(finished, total)
        self.finished, self.total = finished, total


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
    unreadable: dict[str, str]
    """Databases that could not be read when the run began, with the reason and a hint."""
    without_schema: dict[str, str]
    """Databases without a schema for exact match, with the reason; only if exact match was asked for."""
    left_out: list[tuple[Path, str]]
    """Files beside the databases that are no variants, though they may look like it, each with the reason."""

    def items(self) -> Iterator[tuple[Example, dict[str, Any]]]:
        """Go through the examples with their verdicts."""
        return zip(self.examples, self.verdicts, strict=True)

    @property
    def gold_errors(self) -> list[tuple[Example, dict[str, Any]]]:
        """Examples whose gold fails, or whose database cannot be read, with their verdicts."""
        return [(example, verdict) for example, verdict in self.items() if verdict["state"] == "gold_error"]

    @property
    def is_whole(self) -> bool:
        """Whether everything could be scored that was asked for."""
        return not self.gold_errors and not self.without_schema


def evaluate(
    settings: Settings,
    out: Path | None = None,
    argv: Sequence[str] = (),
    progress: Callable[[int, int], object] | None = None,
    *,
    overwrite: bool = False,
) -> Evaluation:
    """Score predictions against golds, and write the run directory `out` if one is given.

    An unfinished run of the same inputs is taken up where it stopped; a finished one is written anew.

    Args:
        settings: What to score.
        out: The run directory, created if need be.
        argv: The command line, for the record.
        progress: Called now and then with the number of scored examples and of all.
        overwrite: Replace what `out` holds, be it a run of other inputs or files of something else.

    Raises:
        QsqlError: If an input cannot be used, no database can be read, or `out` holds something else. Whatever is wrong
            with single predictions, golds and databases is in their verdicts.
        KeyboardInterrupt: Soon after Ctrl-C; an `Interrupted` once scoring has begun with `out`, which then holds what
            was settled.
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
    suites, unreadable, without_schema = _suites(scorer, examples, settings)
    readable = [db_id for db_id in suites if db_id not in unreadable]
    left_out = [(Path(file), reason) for db_id in readable for file, reason in scorer.left_out(db_id)]

    def evaluation(verdicts: list[dict[str, Any]]) -> Evaluation:
        summary = _summary(verdicts, examples, pairing, suites, scorer, started)
        problem = scorer.cache_problem
        return Evaluation(summary, verdicts, examples, pairing, problem, unreadable, without_schema, left_out)

    if out is None:
        return evaluation(_score(scorer, settings.etype, examples, pairing, {}, None, progress))
    record = _record(settings, argv, suites)
    _require_place(out, record, settings, overwrite=overwrite)
    results.make_run_directory(out)
    finished = results.finished_verdicts(out, record["fingerprint"], examples)
    results.write_record(out, "evaluation", record)
    try:
        with results.VerdictFile(out, finished.values()) as file:
            results.write_text(out / results.EXAMPLES, _texts(examples, pairing))
            verdicts = _score(scorer, settings.etype, examples, pairing, finished, file, progress)
            file.finish()
    except KeyboardInterrupt as interrupt:
        # What the file holds, however far the interrupted one came with writing.
        raise Interrupted(
            len(results.finished_verdicts(out, record["fingerprint"], examples)), len(examples)
        ) from interrupt
    scored = evaluation(verdicts)
    results.write_json(out / results.SUMMARY, scored.summary)
    return scored


def _suites(
    scorer: Scorer, examples: Sequence[Example], settings: Settings
) -> tuple[dict[str, list[Path]], dict[str, str], dict[str, str]]:
    """Find the databases of every example before anything is scored, those that cannot be read, or not matched on."""
    suites: dict[str, list[Path]] = {}
    unreadable: dict[str, str] = {}
    without_schema: dict[str, str] = {}
    for example in examples:
        db_id = example.db_id
        if db_id in suites:
            continue
        place = f"`{settings.gold}` {example.place}: "
        suites[db_id] = []
        try:
            problem = scorer.database_problem(db_id)
        except QsqlError as error:
            raise QsqlError(f"{place}{error}") from None
        if problem is not None:
            unreadable[db_id] = place + problem
            continue
        suites[db_id] = [Path(file) for file in scorer.databases(db_id)]
        if settings.etype != "exec" and (problem := scorer.schema_problem(db_id)) is not None:
            without_schema[db_id] = place + problem
    if not any(suites.values()):
        raise QsqlError(next(iter(unreadable.values())))
    if settings.etype == "match" and len(without_schema) + len(unreadable) == len(suites):
        raise QsqlError(f"{next(iter(without_schema.values()))}\nhint: add it there, or leave out `--table`")
    return suites, unreadable, without_schema


def _require_place(out: Path, record: Mapping[str, Any], settings: Settings, *, overwrite: bool) -> None:
    """See that the evaluation may be written to a run directory; see `qsql.outputs` for what may be replaced."""
    inputs = [settings.gold, settings.predictions, *([settings.tables] if settings.tables is not None else [])]
    inputs += [settings.database_dir / db_id for db_id in record["sha256"]["suites"]]
    for name in (*results.EVALUATION_FILES, results.RUN):
        refuse_inputs(out / name, inputs)
    own = out / results.PREDICTIONS
    is_of_own = not own.exists() or is_same(own, settings.predictions)
    if not is_of_own and results.sha256(own) != record["sha256"]["predictions"]:
        raise QsqlError(
            f"`{out}` holds other predictions than `{settings.predictions}`\n"
            "hint: name another run directory with `--out`"
        )
    try:
        earlier = results.require_own(out, results.EVALUATION_FILES, "evaluation")
    except QsqlError:
        if not overwrite:
            raise
        earlier = {}
    if _inputs_of(earlier) == _inputs_of(record):
        return
    if overwrite:
        results.clear_run(out, results.EVALUATION_FILES, {"evaluation"})
    elif any(is_occupied(out / name) for name in (results.VERDICTS, results.PARTIAL, results.SUMMARY)):
        raise QsqlError(
            f"`{out}` holds an evaluation with {_difference(earlier, record)}\n"
            "hint: name another run directory with `--out`, or replace this one with `--overwrite`"
        )


def _inputs_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is a run of: files by their content, and rules. Another version of qsql scores the same run anew."""
    hashes = {name: record.get("sha256", {}).get(name) for name in ("gold", "predictions", "tables", "suites")}
    rules = {name: value for name, value in record.get("settings", {}).items() if name not in _NO_RULES}
    return {**hashes, **rules}


def _difference(earlier: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Name what another run was a run of."""
    names = {"gold": "other golds", "predictions": "other predictions", "tables": "another `--table`"}
    names["suites"] = "other contents of the databases"
    before, now = _inputs_of(earlier), _inputs_of(record)
    different = [name for name in now if before.get(name) != now[name]] or ["settings"]
    return " and ".join(names.get(name, f"another `{name}`") for name in different)


def _score(
    scorer: Scorer,
    etype: Etype,
    examples: Sequence[Example],
    pairing: Pairing,
    finished: Mapping[int, dict[str, Any]],
    file: results.VerdictFile | None,
    progress: Callable[[int, int], object] | None,
) -> list[dict[str, Any]]:
    """Score what is not finished, batch by batch, and write verdicts as they are settled."""
    verdicts = dict(finished)
    waiting = [index for index in range(len(examples)) if index not in verdicts]
    for start in range(0, len(waiting), BATCH):
        batch = waiting[start : start + BATCH]
        before = len(verdicts)

        def report(done: int, total: int, before: int = before, size: int = len(batch)) -> None:
            if progress is not None and total:
                progress(before + size * done // total, len(examples))

        def keep(settled: Iterable[tuple[int, Verdict]], batch: Sequence[int] = batch) -> None:
            lines = [_line(batch[at], examples[batch[at]], verdict) for at, verdict in settled]
            new = [line for line in lines if line["index"] not in verdicts]
            if file is not None:
                file.append(new)
            verdicts.update((line["index"], line) for line in new)

        found = scorer.score(
            [examples[index].query for index in batch],
            [pairing.predictions[index] for index in batch],
            [examples[index].db_id for index in batch],
            etype,
            progress=report,
            settled=keep if file is not None else None,
        )
        keep(enumerate(found))
        if progress is not None:
            progress(len(verdicts), len(examples))
    return [verdicts[index] for index in range(len(examples))]


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
        for level in records.LEVELS
    }
    interactions = {}
    if examples[-1].interaction > 0:
        turn_names = [records.TURNS[min(example.turn, 5) - 1] for example in examples]
        for turn in records.TURNS:
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
        "suites": {db_id: results.suite_hash(files) if files else None for db_id, files in sorted(suites.items())},
    }
    resolved = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings).items()}
    versions = {"qsql": __version__, "sqlite": sqlite_version(), "python": platform.python_version()}
    rules = {key: value for key, value in resolved.items() if key not in _NO_RULES}
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
