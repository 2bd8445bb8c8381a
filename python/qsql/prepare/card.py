"""The data card: the report of a prepared data set as a page for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qsql.markdown import cell, code, table
from qsql.prepare.rows import STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

_BAR = 48


def data_card(report: Mapping[str, Any]) -> str:
    """Write the data card of a report."""
    parts = [
        "# Text-to-SQL training data",
        (
            f"{report['train']['rows']:,} examples on {report['train']['schemas']:,} schemas for training, "
            f"{report['validation']['rows']:,} on {report['validation']['schemas']:,} others for validation. "
            f"Made by qsql {report['qsql_version']}; the settings and the hashes of all files are in `report.json`."
        ),
        "## Sources",
        table(
            ("source", "examples", "file", "SHA-256"),
            (
                (cell(source["name"]), f"{source['rows']:,}", cell(name), f"`{digest[:16]}`" if digest else "")
                for source in report["sources"]
                for name, digest in source["files"].items()
            ),
        ),
    ]
    if report["evaluation_files"]:
        parts += [
            "Examples of these evaluation sets were left out:",
            table(
                ("file", "questions", "SHA-256"),
                (
                    (cell(item["name"]), f"{item['questions']:,}", f"`{item['sha256'][:16]}`")
                    for item in report["evaluation_files"]
                ),
            ),
        ]
    parts += ["## Stages", _stage_table(report), *_dropped(report), "## What is left", _features(report)]
    if "tokens" in report["statistics"]:
        parts += ["### Tokens of prompt and answer", _lengths(report)]
    parts += [
        "## The prompt",
        f"```\n{report['instruction']}\n\nSchema:\nCREATE TABLE ...\n\nQuestion:\n...\n```",
        "The answer is the query alone.",
    ]
    return "\n\n".join(parts) + "\n"


def _stage_table(report: Mapping[str, Any]) -> str:
    rows = [
        (
            f"`{stage['stage']}`",
            STAGES[stage["stage"]],
            f"{stage['rows']:,}",
            f"{stage['dropped']:,}" if stage["is_on"] else "off",
            f"{stage['rows'] - stage['dropped']:,}",
        )
        for stage in report["stages"]
    ]
    return table(("stage", "leaves out", "in", "dropped", "kept"), rows)


def _dropped(report: Mapping[str, Any]) -> list[str]:
    parts = []
    for name, found in report["dropped_examples"].items():
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in found["reasons"].items())
        parts.append(f"### Dropped by `{name}`: {reasons}")
        rows = (
            (cell(item["place"]), cell(item["question"]), code(item["query"]), cell(item["detail"]))
            for item in found["examples"]
        )
        parts.append(table(("place", "question", "query", "why"), rows))
    return parts


def _features(report: Mapping[str, Any]) -> str:
    found = report["statistics"]
    total = max(1, found["rows"])
    hardness = table(
        ("hardness", "examples", "%"),
        ((level, f"{count:,}", f"{100 * count / total:.1f}") for level, count in found["hardness"].items()),
    )
    features = table(
        ("feature", "queries", "%"),
        ((name, f"{count:,}", f"{100 * count / total:.1f}") for name, count in found["features"].items()),
    )
    tables = table(
        ("tables in a schema", "schemas"),
        ((number, f"{count:,}") for number, count in found["tables_per_schema"].items()),
    )
    return f"{hardness}\n\n{features}\n\n{tables}"


def _lengths(report: Mapping[str, Any]) -> str:
    tokens, cutoff = report["statistics"]["tokens"], report["settings"]["cutoff"]
    text = f"Mean {tokens['mean']}, median {tokens['median']}, 95% at most {tokens['p95']}, longest {tokens['max']}."
    return f"{text}\n\n```\n{histogram(tokens, cutoff)}\n```"


def histogram(tokens: Mapping[str, Any], cutoff: int) -> str:
    """Draw token lengths as bars of text, with a line at the cutoff."""
    counts = {int(start): count for start, count in tokens["histogram"].items()}
    most = max(counts.values())
    lines = []
    marked = False
    for start in range(0, max(counts) + tokens["bin"], tokens["bin"]):
        if start >= cutoff and not marked:
            lines.append(f"{'-' * 12} cutoff {cutoff} {'-' * 30}")
            marked = True
        count = counts.get(start, 0)
        bar = "#" * max(1 if count else 0, round(_BAR * count / most))
        lines.append(f"{start:>5}-{start + tokens['bin'] - 1:<5} {count:>6,} {bar}".rstrip())
    if not marked:
        lines.append(f"{'-' * 12} cutoff {cutoff} {'-' * 30}")
    return "\n".join(lines)
