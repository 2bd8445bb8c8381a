"""What the official tool prints, byte for byte: lines while it runs, and the summary from its count table to its end.

Definition: `evaluate` and `print_scores` in `evaluation.py` of taoyds/test-suite-sql-eval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qsql.records import COMPONENTS, LEVELS, TURNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qsql.data import Example

# The rules round the titles are of unequal length, as the official tool has them.
_EXECUTION = "=====================   EXECUTION ACCURACY     ====================="
_EXACT = "\n====================== EXACT MATCHING ACCURACY ====================="
_PARTIAL = (
    ("acc", "\n---------------------PARTIAL MATCHING ACCURACY----------------------"),
    ("rec", "---------------------- PARTIAL MATCHING RECALL ----------------------"),
    ("f1", "---------------------- PARTIAL MATCHING F1 --------------------------"),
)
_TURN_EXECUTION = "=====================   TURN EXECUTION ACCURACY     ====================="
_TURN_EXACT = "\n====================== TURN EXACT MATCHING ACCURACY ====================="


def official_lines(
    examples: Sequence[Example], predictions: Sequence[str | None], verdicts: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Go through the lines that stand before the summary: every tenth interaction, and what is no exact match.

    Args:
        examples: The golds, in their order.
        predictions: One for each gold; what is missing has no text.
        verdicts: One for each gold, with `exact` and `hardness`.
    """
    interaction = -1
    for example, prediction, verdict in zip(examples, predictions, verdicts, strict=True):
        while interaction < example.interaction:
            interaction += 1
            if (interaction + 1) % 10 == 0:
                yield f"Evaluating {interaction + 1}th prediction"
        if verdict["exact"] is False:
            # Placeholders are replaced before anything else is done with a prediction, and are printed so.
            yield f"{verdict['hardness']} pred: {(prediction or '').replace('value', '1')}"
            yield f"{verdict['hardness']} gold: {example.query}"
            yield ""


def official_report(summary: Mapping[str, Any], etype: str) -> str:
    """Format a summary as the official tool does for `--etype` "all", "exec" or "match"."""
    has_turns = summary["joint_all"] is not None
    levels = [*LEVELS, "all", *(["joint_all"] if has_turns else [])]
    lines = [_row("", levels), _row("count", [summary[level]["count"] for level in levels])]
    if etype in {"all", "exec"}:
        lines += [_EXECUTION, _row("execution", [summary[level]["execution"] or 0.0 for level in levels])]
    if etype in {"all", "match"}:
        lines += [_EXACT, _row("exact match", [summary[level]["exact"] or 0.0 for level in levels])]
        for score, title in _PARTIAL:
            lines.append(title)
            lines += [
                _row(component, [_partial(summary[level], component, score) for level in levels])
                for component in COMPONENTS
            ]
    if has_turns:
        lines += ["", "", _row("", TURNS), _row("count", [summary[turn]["count"] for turn in TURNS])]
        if etype in {"all", "exec"}:
            lines += [_TURN_EXECUTION, _row("execution", [summary[turn]["execution"] or 0.0 for turn in TURNS])]
        if etype in {"all", "match"}:
            lines += [_TURN_EXACT, _row("exact match", [summary[turn]["exact"] or 0.0 for turn in TURNS])]
    return "\n".join(lines) + "\n"


def _partial(totals: Mapping[str, Any], component: str, score: str) -> float:
    partial = totals.get("partial")
    if partial is not None:
        return float(partial[component][score])
    # Levels without items keep what the scores start with. The joint level has items but no partial scores, of which
    # the official F1 makes 1.
    return 1.0 if score == "f1" and totals["count"] else 0.0


def _row(name: str, cells: Sequence[str | int | float]) -> str:
    formatted = (
        f"{cell:20}" if isinstance(cell, str) else f"{cell:<20d}" if isinstance(cell, int) else f"{cell:<20.3f}"
        for cell in cells
    )
    return f"{name:20} " + " ".join(formatted)
