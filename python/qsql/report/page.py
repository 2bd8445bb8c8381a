"""Pages that work offline: tables, charts and a searchable list of examples in one file that loads nothing.

The policy in the page's head forbids all requests. Text of questions, queries, names and cells reaches the page
escaped, in tables by the template, in the list as JSON that the script turns into text nodes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsql import records, results
from qsql._core import QsqlError, __version__
from qsql.features import FEATURES
from qsql.outputs import is_page, require_file
from qsql.report import charts
from qsql.report.breakdown import by_database, by_feature, levels, turns
from qsql.report.curves import read_training
from qsql.report.pair import Result, Results, differences, results_on
from qsql.report.tables import STATES, interval_text, percent, row_count
from qsql.schema_text import SchemaStyle, schema_text, tables_of_database
from qsql.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qsql.report.curves import Training
    from qsql.report.run import Item, Run

TEMPLATES = Path(__file__).parent / "templates"
MOST_PROBLEMS = 20
"""Databases of which a page says that they cannot be read."""


@dataclass(frozen=True)
class PageTable:
    """A table; the first cell of a row is its header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Figure:
    """A chart."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of a page."""

    title: str
    tables: Sequence[PageTable] = ()
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """What stands above the list of examples."""

    title: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    footer: str
    problems: list[str] = field(default_factory=list)
    """What the page lacks, and why."""


def write_report(
    run: Run,
    path: Path,
    train_run: Path | None = None,
    progress: Callable[[str, int, int], object] | None = None,
    *,
    overwrite: bool = False,
) -> list[str]:
    """Write the page of a run.

    Args:
        run: The run.
        path: The file.
        train_run: Directory of the training run, for its curves.
        progress: Called with what is done, and how much of it.
        overwrite: Replace what is there, unless it is read or part of a run.

    Returns:
        What the page lacks, and why; for instance result tables, where the databases have gone.

    Raises:
        QsqlError: If the extra `report` is not installed, or a file cannot be read or may not be written.
    """
    training = None if train_run is None else read_training(train_run)
    inputs = [*run.inputs(), *([] if training is None else training.inputs())]
    require_file(path, "page", is_page, inputs, overwrite=overwrite)
    data, problems = examples_data([run], progress)
    sections = [*run_sections(run), *([training_section(training)] if training else [])]
    page = Page(f"Report: {visible(run.name)}", facts(run), sections, footer(), problems)
    write_page(page, data, path)
    return problems


def footer() -> str:
    """Say what made the page."""
    return f"Made by qsql {__version__}. This page loads nothing from anywhere."


def facts(run: Run) -> list[tuple[str, str]]:
    """Tell what was scored, by the names of files and without the folders they are in."""
    settings = run.settings
    rules = [
        name for name in ("plug_value", "keep_distinct") if settings[name]
    ] + ([] if settings["credit_empty"] else ["no credit for empty results"])  # fmt: skip
    model = run.record.get("generation", {}).get("settings", {}).get("model")
    pairs = [
        ("model", "" if model is None else Path(str(model)).name),
        ("golds", Path(settings["gold"]).name),
        ("predictions", Path(settings["predictions"]).name),
        ("examples", f"{run.summary['all']['count']:,}"),
        ("database files", f"{run.summary['databases']:,}"),
        ("rules", ", ".join(rules) or "official"),
        ("SQLite", run.evaluation["versions"]["sqlite"]),
        ("qsql", run.evaluation["versions"]["qsql"]),
    ]
    return [(name, visible(value)) for name, value in pairs if value]


def run_sections(run: Run) -> list[Section]:
    """Tables and charts of one run."""
    sections = [
        Section(
            "By difficulty",
            [totals_table("difficulty", levels(run), run)],
            [_intervals("difficulty", levels(run), run)],
            ["Intervals are Wilson's, at 95%. An example whose gold fails is in no share."],
        ),
        Section("What became of the predictions", [state_table(run)]),
    ]
    if rows := turns(run):
        sections.append(Section("By turn", [totals_table("turn", rows, run)], [_intervals("turn", rows, run)]))
    features = by_feature(run)
    sections.append(
        Section(
            "By SQL feature",
            [totals_table("feature of the gold", features, run)],
            [_intervals("feature", features, run)],
            ["A gold may have several features."],
        )
    )
    databases = by_database(run)
    drawn = dict(list(databases.items())[: charts.MOST_BARS])
    left_out = len(databases) - len(drawn)
    notes = ["Databases with most mistakes stand first."]
    if left_out:
        notes.append(f"The chart leaves out the {left_out:,} with fewest; the table has all.")
    sections.append(
        Section("By database", [totals_table("database", databases, run)], [_intervals("database", drawn, run)], notes)
    )
    if partial := run.summary["all"].get("partial"):
        rows_ = [
            [component, *(percent(partial[component][name]) for name in ("acc", "rec", "f1"))]
            for component in records.COMPONENTS
        ]
        sections.append(
            Section("Components of exact match", [PageTable(["component", "accuracy %", "recall %", "F1 %"], rows_)])
        )
    return sections


def totals_table(title: str, totals: Mapping[str, Mapping[str, Any]], run: Run) -> PageTable:
    """Lay out totals, one row each."""
    header, rows = [title, "count"], []
    for metric in run.metrics:
        header += [f"{metric} %", "95% interval"]
        if metric == "exact":
            header.append("canonical exact %")
    for name, row in totals.items():
        cells = [visible(name), f"{row['count']:,}"]
        for metric in run.metrics:
            cells += [percent(row[metric]), interval_text(row[f"{metric}_interval"])]
            if metric == "exact":
                cells.append(percent(row.get("canonical_exact")))
        rows.append(cells)
    return PageTable(header, rows)


def state_table(run: Run) -> PageTable:
    """Count the states of predictions by difficulty."""
    names = [*records.LEVELS, "all"]
    rows = [
        [f"{state}: {label}" if (label := STATES.get(state, "compared with the gold")) != state else state]
        + [f"{run.summary[name]['states'][state]:,}" for name in names]
        for state in records.STATES
    ]
    rows.append(["not in Spider's grammar"] + [f"{run.summary[name]['rejected']:,}" for name in names])
    return PageTable(["state", *names], rows)


def _intervals(title: str, totals: Mapping[str, Mapping[str, Any]], run: Run) -> Figure:
    caption = f"{' and '.join(run.metrics)} by {title}: shares with 95% intervals"
    return Figure(charts.intervals_chart(totals, run.metrics), caption)


def training_section(training: Training) -> Section:
    """Learning curves of a training run."""
    figures = [
        Figure(
            charts.curves_chart(title, lines, training.best_step),
            f"{title} over training steps"
            + (
                ""
                if training.best_step is None
                else f"; the line marks the best checkpoint, step {training.best_step:,}"
            ),
        )
        for title, lines in training.panels.items()
    ]
    notes = [] if figures else ["Nothing was logged."]
    if figures and "execution accuracy" not in training.panels:
        notes.append("Execution accuracy was not measured during training.")
    tables = []
    if training.executions:
        rows = [
            [f"{entry['step']:,}", f"{entry['correct']:,} of {entry['count']:,}", percent(entry["execution"])]
            for entry in training.executions
        ]
        tables.append(PageTable(["step", "right on the validation sample", "execution %"], rows))
    return Section("Training", tables, figures, notes)


def examples_data(
    runs: Sequence[Run], progress: Callable[[str, int, int], object] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Collect what the list of examples shows: texts, verdicts, schemas, and results where an execution is wrong.

    The runs have the same examples in the same order. What is null or empty in an answer is left out of it.

    Returns:
        The data, and what they lack because databases are gone.
    """
    first = runs[0]
    databases = sorted({item.db_id for item in first.items})
    place_of = {db_id: place for place, db_id in enumerate(databases)}
    names = list(FEATURES)
    problems: list[str] = []
    schemas: dict[str, str] = {}
    unreadable = _read_schemas(runs, databases, schemas, problems)
    if len(problems) > MOST_PROBLEMS:
        problems[MOST_PROBLEMS:] = [f"{len(problems) - MOST_PROBLEMS:,} more databases likewise"]
    if any(run.settings["plug_value"] and "execution" in run.metrics for run in runs):
        problems.append(
            "values of the golds were plugged into predictions; the results shown are of predictions as they stand"
        )
    items = []
    for index, group in enumerate(zip(*(run.items for run in runs), strict=True)):
        item = group[0]
        if progress is not None and index % 50 == 0:
            progress("examples", index, len(first.items))
        entry: dict[str, Any] = {
            "id": visible(item.id),
            "db": place_of[item.db_id],
            "level": item.verdict["hardness"],
            "question": None if item.question is None else visible(item.question),
            "features": [names.index(name) for name in item.features],
            "answers": [
                _answer(run, other, has_database=(number, item.db_id) not in unreadable)
                for number, (run, other) in enumerate(zip(runs, group, strict=True))
            ],
        }
        if first.summary["joint_all"]:
            entry["turn"] = item.verdict["turn"]
        items.append(entry)
    data = {
        "runs": run_names(runs),
        "metrics": [metric for metric in ("exact", "execution") if all(metric in run.metrics for run in runs)],
        "components": list(records.COMPONENTS),
        "databases": [visible(name) for name in databases],
        # By position, as all that has names of others: an object of JavaScript has some of its own.
        "schemas": [schemas.get(db_id) for db_id in databases],
        "features": names,
        "items": items,
    }
    return data, problems


def _read_schemas(
    runs: Sequence[Run], databases: Sequence[str], schemas: dict[str, str], problems: list[str]
) -> set[tuple[int, str]]:
    """Read the schemas of databases, and tell which of which run cannot be read; one that cannot leaves the others."""
    unreadable = set()
    for number, run in enumerate(runs):
        absent = [db_id for db_id in databases if not run.database(db_id).is_file()]
        if len(absent) == len(databases):
            unreadable |= {(number, db_id) for db_id in databases}
            problems.append(
                f"the databases of `{run.name}` are not where they were, so that schemas and results are not shown; "
                "`--db` tells where they are"
            )
            continue
        for db_id in databases:
            schema, problem = ("", "there is no such file") if db_id in absent else _schema(run.database(db_id))
            if problem is None:
                schemas.setdefault(db_id, schema)
            else:
                unreadable.add((number, db_id))
                problems.append(f"results on `{visible(db_id)}` of `{visible(run.name)}` are not shown: {problem}")
    return unreadable


def _schema(database: Path) -> tuple[str, str | None]:
    """The schema of a database, or why it cannot be read."""
    try:
        return visible(schema_text(tables_of_database(database), SchemaStyle(keys=True))), None
    except QsqlError as error:
        return "", visible(str(error).partition("\nhint: ")[0])


def run_names(runs: Sequence[Run]) -> list[str]:
    """Name runs by their directories; where these have the same name, with a number."""
    names = [visible(run.name) for run in runs]
    return [name if names.count(name) == 1 else f"{name} ({at})" for at, name in enumerate(names, 1)]


def _answer(run: Run, item: Item, *, has_database: bool) -> dict[str, Any]:
    verdict = item.verdict
    gold, prediction = ([visible(item.gold)], None)
    if item.prediction is not None:
        gold, prediction = differences(item.gold, item.prediction)
    answer: dict[str, Any] = {
        "exact": verdict["exact"],
        "execution": verdict["execution"],
        "canonical": verdict["canonical_exact"],
        "state": verdict["state"],
        "gold": gold,
        "sql": prediction,
    }
    messages = {
        "rejected": verdict["rejected"],
        "goldRejected": verdict["gold_rejected"],
        "failedOn": verdict["failed_on"],
        "detail": verdict["detail"],
    }
    answer |= {name: visible(text) for name, text in messages.items() if text}
    if verdict["capped"]:
        answer["capped"] = True
    if verdict["partial"] is not None and verdict["exact"] is False:
        answer["partial"] = [verdict["partial"][component] for component in records.COMPONENTS]
    tells_apart = verdict["state"] == "scored" and verdict["execution"] is False and verdict["failed_on"]
    if has_database and tells_apart and item.prediction is not None:
        file = run.database(item.db_id, verdict["failed_on"])
        try:
            answer["results"] = _results(results_on(file, item.gold, item.prediction, run.settings))
        except QsqlError as error:
            # A variant that has gone, or is in use: the verdict stands without it.
            said = visible(str(error).partition("\nhint: ")[0])
            answer["detail"] = f"{answer['detail']}; its results are not shown: {said}" if "detail" in answer else said
    return answer


def _results(found: Results) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "file": visible(found.file),
        "gold": _result(found.gold),
        "prediction": _result(found.prediction),
    }
    return {**shown, "reordered": True} if found.are_reordered else shown


def _result(result: Result) -> dict[str, Any]:
    if result.state != "ran":
        return {"state": result.state, "detail": result.detail or ""}
    return {
        "state": "ran",
        "columns": result.columns,
        "rows": result.rows,
        "own": [int(own) for own in result.own],
        "summary": row_count(result),
    }


def write_page(page: Page, data: Mapping[str, Any], path: Path) -> None:
    """Write a page.

    Raises:
        QsqlError: If jinja2 is not installed or the file cannot be written.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - an extra
        from markupsafe import Markup  # noqa: PLC0415 - comes with jinja2
    except ImportError as error:
        raise QsqlError(
            f"pages need {error.name}, which is not installed\nhint: pip install 'qsql-lab[report]'"
        ) from None
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(TEMPLATES), trim_blocks=False
    )
    # What closes a script is the only thing that JSON can hold and a script element cannot.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    sections = [
        {
            "title": section.title,
            "tables": section.tables,
            "notes": section.notes,
            # Charts are ours, and Vega escapes the names in them.
            "figures": [{"svg": Markup(figure.svg), "caption": figure.caption} for figure in section.figures],  # noqa: S704
        }
        for section in page.sections
    ]
    shown = {
        "title": page.title,
        "facts": page.facts,
        "problems": [visible(problem) for problem in page.problems],
        "sections": sections,
        "footer": page.footer,
        "generator": f"qsql {__version__}",
    }
    results.write_text(
        path,
        environment.get_template("page.html.jinja").render(
            page=shown,
            css=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),  # noqa: S704
            script=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),  # noqa: S704
            data=Markup(text),  # noqa: S704
        ),
    )
