"""One pair of queries: what the verdict is, why exact match fails, and on which database the two differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from qsql._core import QsqlError, Schema, Verdict, canonicalize, exact_match, score, suite_files
from qsql.report.pair import Results, differences, results_on
from qsql.report.tables import marked, side_by_side
from qsql.visible import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

_SNIPPET = 30
_MAX_STEPS, _MAX_MEMORY = 1_000_000_000, 128 << 20
"""What `score` allows a query."""


@dataclass(frozen=True)
class Explanation:
    """Why a prediction is right or wrong."""

    gold: str
    prediction: str
    verdict: Verdict
    canonical: tuple[str, str]
    """The canonical forms of gold and prediction; where there is none, an empty text."""
    reasons: tuple[str | None, str | None]
    """Why there is no canonical form, where there is none."""
    position: int | None
    """Index of the character at which Spider's grammar rejects the prediction, where it does and can say it."""
    results: Results | None
    """What the two return on the smallest database that tells them apart, if one does."""
    distinguishing: int
    """How many databases tell them apart."""


def explain(
    gold: str, prediction: str, database: Path, *, keep_distinct: bool = False, timeout: float = 30.0
) -> Explanation:
    """Compare a prediction with its gold, in every way that there is.

    Args:
        gold: The query that is right.
        prediction: The query to compare.
        database: A `.sqlite` file, or a folder of them: a database and its variants.
        keep_distinct: Keep DISTINCT, which the official protocol removes from both.
        timeout: Seconds for one query on one database.

    Raises:
        QsqlError: If there is no database.
    """
    verdict = score(gold, prediction, database, keep_distinct=keep_distinct, timeout=timeout)
    files = [Path(file) for file in suite_files(database)]
    main = next((file for file in files if file.stem == file.parent.name), files[0])
    try:
        schema = Schema.read(main)
    except QsqlError:
        # The verdict says that it cannot be read, and why.
        schema = None
    forms = [_canonical(sql, schema) for sql in (gold, prediction)]
    found = []
    if verdict.execution is False and verdict.state == "scored":
        found = [
            file
            for file in sorted(files, key=lambda file: (file.stat().st_size, file.name))
            if score(gold, prediction, file, keep_distinct=keep_distinct, timeout=timeout).execution is False
        ]
    settings = {
        "keep_distinct": keep_distinct,
        "timeout": timeout,
        "max_steps": _MAX_STEPS,
        "max_memory": _MAX_MEMORY,
    }
    return Explanation(
        gold,
        prediction,
        verdict,
        (forms[0][0], forms[1][0]),
        (forms[0][1], forms[1][1]),
        _position(gold, prediction, schema, verdict),
        results_on(found[0], gold, prediction, settings) if found else None,
        len(found),
    )


def _canonical(sql: str, schema: Schema | None) -> tuple[str, str | None]:
    try:
        return canonicalize(sql, schema), None
    except QsqlError as error:
        return "", str(error).partition("\nhint: ")[0]


def _position(gold: str, prediction: str, schema: Schema | None, verdict: Verdict) -> int | None:
    if schema is None or verdict.rejected is None or verdict.gold_rejected is not None:
        return None
    found = exact_match(gold, prediction, schema)
    # The scorer fills placeholders in first, which may change what is rejected.
    return found.position if found.rejected and verdict.rejected.startswith(found.rejected) else None


def explanation_text(explanation: Explanation) -> RenderableType:
    """Lay out an explanation for the terminal."""
    verdict = explanation.verdict
    gold, prediction = differences(explanation.gold, explanation.prediction)
    parts: list[RenderableType] = [
        _pairs(
            [
                ("execution", Text(_execution(verdict))),
                ("exact match", Text(_word(verdict.exact))),
                ("canonical", Text(f"{_word(verdict.canonical_exact)}, exact match of the canonical forms")),
                ("difficulty", Text(verdict.hardness or "none: Spider's grammar rejects the gold")),
            ]
        ),
        "",
        _pairs([("gold", marked(gold)), ("prediction", marked(prediction))]),
        "",
        Text("canonical forms", style="bold"),
        _pairs(_forms(explanation)),
    ]
    if reasons := why_not_exact(explanation):
        parts += ["", Text("why exact match fails", style="bold"), Text("\n".join(reasons))]
    if explanation.results is not None:
        file = visible(explanation.results.file)
        how_many = f"; {explanation.distinguishing} do" if explanation.distinguishing > 1 else ""
        parts += [
            "",
            Text(f"smallest database that tells them apart: {file}{how_many}", style="bold"),
            side_by_side(explanation.results),
        ]
    return Group(*parts)


def _pairs(rows: list[tuple[str, Text]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", min_width=11)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, text)
    return table


def _forms(explanation: Explanation) -> list[tuple[str, Text]]:
    left, right = explanation.canonical
    if left and right:
        if left == right:
            return [("both", Text(visible(left)))]
        gold, prediction = differences(left, right)
        return [("gold", marked(gold)), ("prediction", marked(prediction))]
    return [
        (name, Text(visible(form if reason is None else f"none: {reason}")))
        for name, form, reason in zip(("gold", "prediction"), (left, right), explanation.reasons, strict=True)
    ]


def _word(value: bool | None) -> str:  # noqa: FBT001
    return {True: "right", False: "wrong", None: "cannot be told"}[value]


def _execution(verdict: Verdict) -> str:
    text = _word(verdict.execution)
    if verdict.state != "scored":
        text += f", {verdict.state}"
    if verdict.detail:
        text += f": {visible(verdict.detail)}"
    return text if verdict.failed_on is None else f"{text} (on {visible(verdict.failed_on)})"


def why_not_exact(explanation: Explanation) -> list[str]:
    """Say why exact match fails; nothing where it does not."""
    verdict = explanation.verdict
    if verdict.gold_rejected is not None:
        return [f"Spider's grammar rejects the gold: {visible(verdict.gold_rejected)}"]
    if verdict.exact is not False:
        return []
    if verdict.rejected is not None:
        lines = [f"Spider's grammar rejects the prediction: {visible(verdict.rejected)}"]
        if explanation.position is not None:
            start = max(0, explanation.position - _SNIPPET)
            before = visible(explanation.prediction[start : explanation.position]).replace("\n", " ").replace("\t", " ")
            behind = explanation.prediction[explanation.position : explanation.position + _SNIPPET]
            lines += [
                f"  {before}{visible(behind)}".replace("\n", " ").replace("\t", " "),
                f"  {' ' * len(before)}^ here",
            ]
        return lines
    lines = [
        f"{name}: {row[3]} in the gold, {row[4]} in the prediction" + (", which differ" if row[3] == row[4] else "")
        for name, row in (verdict.partial or {}).items()
        if row[2] != 1
    ]
    return lines or ["all ten components match; the tables in FROM differ"]
