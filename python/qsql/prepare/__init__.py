"""From public sets to a clean training split: what was dropped, why, and what is left.

`prepare` reads the sources, runs the stages of `rows.STAGES` over their rows, splits what is left by schema, and writes
a folder that LLaMA-Factory reads as it is. The same inputs and settings give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.prepare import clean
from qsql.prepare.leakage import EvaluationSets, Signatures
from qsql.prepare.output import read_report, require_replaceable, write_data_set
from qsql.prepare.rows import STAGES, Dropped, Row
from qsql.prepare.settings import Settings, load_settings
from qsql.prepare.sources import Source, read_source
from qsql.prepare.split import split_rows
from qsql.prepare.statistics import statistics
from qsql.prepare.tokens import TokenCounter
from qsql.results import sha256

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STAGES", "Settings", "StageCount", "load_settings", "prepare", "read_report"]


@dataclass(frozen=True)
class StageCount:
    """How many rows a stage saw and dropped."""

    stage: str
    rows: int
    dropped: int
    is_on: bool


class _Reporter:
    """Tells what is going on, by stage."""

    def __init__(self, progress: Callable[[str, int, int], object] | None) -> None:
        self._progress = progress

    def of(self, stage: str) -> Callable[[int, int], object] | None:
        progress = self._progress
        if progress is None:
            return None
        progress(stage, 0, 0)
        return lambda done, total: progress(stage, done, total)


def prepare(
    settings: Settings,
    out: Path,
    progress: Callable[[str, int, int], object] | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Prepare a data set and write it into the folder `out`.

    Args:
        settings: Where the examples come from, and what is done with them.
        out: New or empty, or a data set that was prepared before, which is replaced when the new one is complete.
        progress: Called now and then with what is being done, how much of it is done, and of how much.
        overwrite: Replace `out` whatever it holds, except for what is read.

    Returns:
        The report, as `report.json` has it.

    Raises:
        QsqlError: If a source cannot be used or nothing is left. `out` is then as it was before.
    """
    if not settings.sources:
        raise QsqlError("no source is given\nhint: name a folder, a file, or a data set on the hub")
    inputs = [*settings.sources, *settings.exclude, *filter(None, (settings.tables, settings.db))]
    require_replaceable(out, inputs, overwrite=overwrite)
    reporter = _Reporter(progress)
    counter = TokenCounter(settings.tokenizer, settings.template_tokens) if settings.tokenizer is not None else None
    signatures = Signatures()
    sets = EvaluationSets(settings.schema_likeness, signatures)
    evaluation_files = []
    for name in settings.exclude:
        count = sets.add(Path(name))
        evaluation_files.append({"name": Path(name).name, "questions": count, "sha256": sha256(Path(name))})
    sources = [_read(name, settings, reporter) for name in settings.sources]
    rows = [row for source in sources for row in source.rows]
    stages, dropped, rows, lengths = _clean(rows, settings, signatures, sets, counter, reporter)
    if not rows:
        worst = max(stages, key=lambda stage: stage.dropped)
        count = sum(len(source.rows) for source in sources)
        raise QsqlError(
            f"nothing is left of {count:,} examples; the stage `{worst.stage}` dropped {worst.dropped:,}\n"
            f"hint: look at the first of them: {dropped[0].row.place}: {dropped[0].detail}"
        )
    train, validation = split_rows(rows, settings.validation, settings.seed, signatures)
    reporter.of("writing")
    return write_data_set(
        out,
        settings,
        train,
        validation,
        dropped,
        {
            "sources": [{"name": source.name, "rows": len(source.rows), "files": source.inputs} for source in sources],
            "evaluation_files": evaluation_files,
            "stages": [vars(stage) for stage in stages],
            "statistics": statistics(rows, lengths),
        },
        overwrite=overwrite,
    )


def _read(name: str, settings: Settings, reporter: _Reporter) -> Source:
    return read_source(name, settings.source_options, reporter.of(f"reading {Path(name).name}"))


def _clean(
    rows: list[Row],
    settings: Settings,
    signatures: Signatures,
    sets: EvaluationSets,
    counter: TokenCounter | None,
    reporter: _Reporter,
) -> tuple[list[StageCount], list[Dropped], list[Row], list[int] | None]:
    counts: list[StageCount] = []
    dropped: list[Dropped] = []
    on = settings.stages

    def run(stage: str, work: Callable[[list[Row]], clean.Outcome], rows: list[Row]) -> list[Row]:
        outcome = work(rows) if stage in on else clean.Outcome(rows, [])
        counts.append(StageCount(stage, len(rows), len(outcome.dropped), stage in on))
        dropped.extend(outcome.dropped)
        return outcome.kept

    def note(stage: str) -> Callable[[int, int], object] | None:
        return reporter.of(stage) if stage in on else None

    note("encoding")
    rows = run("encoding", clean.drop_broken_text, rows)
    rows = run("empty", clean.drop_empty, rows)
    syntax = compiled = clean.Outcome(rows, [])
    if {"syntax", "compile"} & set(on):
        syntax, compiled = clean.drop_unparsable_and_uncompilable(rows, on, reporter.of("compile"))
    rows = run("syntax", lambda _: syntax, rows)
    rows = run("compile", lambda _: compiled, rows)
    rows = run(
        "execution",
        lambda rows: clean.drop_unexecutable(
            rows, settings.max_steps, keep_empty=settings.keep_empty_results, progress=note("execution")
        ),
        rows,
    )
    rows = run("leakage", lambda rows: clean.drop_leaks(rows, sets, note("leakage")), rows)
    note("duplicate")
    rows = run("duplicate", lambda rows: clean.drop_duplicates(rows, signatures), rows)
    rows = run(
        "near_duplicate",
        lambda rows: clean.drop_near_duplicates(
            rows, signatures, settings.near_duplicate_likeness, note("near_duplicate")
        ),
        rows,
    )
    note("length")
    lengths = None if counter is None else clean.token_lengths(rows, counter)
    if lengths is not None:
        measured = lengths
        rows = run("length", lambda rows: clean.drop_long(rows, measured, settings.cutoff), rows)
        if "length" in on:
            lengths = [length for length in measured if length <= settings.cutoff]
    else:
        counts.append(StageCount("length", len(rows), 0, is_on=False))
    return counts, dropped, rows, lengths
