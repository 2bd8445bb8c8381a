"""A model card in the hub's format: results, training and protocol, with every number from a file.

What no file tells is written as `missing`. Folders of the machine are left out; names of files are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsql import records, results
from qsql._core import QsqlError
from qsql.markdown import cell, code, table
from qsql.outputs import is_card, require_file, seal_card
from qsql.report.page import TEMPLATES
from qsql.report.tables import interval_text, percent, state_text
from qsql.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsql.report.curves import Training
    from qsql.report.run import Run

MISSING = "missing"
CURVES = "curves.png"
_METRICS = {"execution": ("execution_accuracy", "Execution accuracy"), "exact": ("exact_match", "Exact match")}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?")


@dataclass(frozen=True)
class CardSettings:
    """What no file of a run can tell."""

    name: str | None = None
    """Name of the model; by default that of the training run, or of the model in the run."""
    dataset: str | None = None
    """Id of the evaluation set on the hub; by default the name of the file of golds."""
    license: str | None = None
    """Licence of the model, by the hub's list."""
    base_model: str | None = None
    """Id of the base model on the hub; by default what the training run names, unless that is a folder."""


def model_card(run: Run, training: Training | None, settings: CardSettings) -> str:
    """Write the card of the model that a run has scored.

    Raises:
        QsqlError: If the extra `report` is not installed.
    """
    try:
        from huggingface_hub import EvalResult, ModelCardData  # noqa: PLC0415 - an extra, and heavy
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise QsqlError(
            f"cards need {error.name}, which is not installed\nhint: pip install 'qsql-lab[report]'"
        ) from None
    # They stand in the header too, where a line `---` would end it.
    name = one_line(settings.name or _name(run, training))
    dataset = one_line(settings.dataset or Path(run.settings["gold"]).stem)
    evaluations = [
        EvalResult(
            task_type="text-generation",
            task_name="Text-to-SQL",
            dataset_type=dataset,
            dataset_name=dataset,
            metric_type=kind,
            metric_name=label,
            # As the tables have it.
            metric_value=float(percent(run.summary["all"][metric])),
        )
        for metric, (kind, label) in _METRICS.items()
        if run.summary["all"][metric] is not None
    ]
    base = settings.base_model or _hub_id(_config(training).get("model_name_or_path"))
    header = ModelCardData(
        model_name=name,
        base_model=base,
        license=settings.license,
        library_name="transformers" if training is not None else None,
        pipeline_tag="text-generation",
        tags=["text-to-sql", "sql", "sqlite"],
        eval_results=evaluations or None,
    )
    template = Environment(
        autoescape=False,  # noqa: S701 - it is Markdown, and `cell` escapes what comes from files
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        loader=FileSystemLoader(TEMPLATES),
    ).get_template("card.md.jinja")
    text: str = template.render(
        header=header.to_yaml(),
        name=cell(name),
        lead=_lead(run, base or _config(training).get("model_name_or_path"), dataset),
        results=result_table(run),
        states=state_text(run.summary),
        training=_training(training, base),
        curves=CURVES if training is not None and (training.directory / CURVES).is_file() else None,
        generation=_generation(run),
        protocol=_protocol(run),
        files=_files(run, training),
    )
    return seal_card(text)


def write_card(
    run: Run, training: Training | None, settings: CardSettings, path: Path, *, overwrite: bool = False
) -> None:
    """Write the card to a file.

    Raises:
        QsqlError: If the extra `report` is not installed, or the file may not be written: it is part of a run, or
            something else than a card as it was written, and not to be overwritten.
    """
    inputs = [*run.inputs(), *([] if training is None else training.inputs())]
    require_file(path, "card", is_card, inputs, overwrite=overwrite)
    results.write_text(path, model_card(run, training, settings))


def result_table(run: Run) -> str:
    """Lay out the results by difficulty, a column for each level."""
    names = [*records.LEVELS, "all"]
    summary = run.summary
    rows = [["examples", *(f"{summary[name]['count']:,}" for name in names)]]
    for metric, label in (("execution", "execution accuracy %"), ("exact", "exact match %")):
        if metric not in run.metrics:
            rows.append([label, *[MISSING] * len(names)])
            continue
        rows.append([label, *(percent(summary[name][metric]) for name in names)])
        rows.append(["95% interval", *(interval_text(summary[name][f"{metric}_interval"]) for name in names)])
    if "exact" in run.metrics:
        rows.append(["canonical exact match %", *(percent(summary[name]["canonical_exact"]) for name in names)])
    return table(["", *names], rows)


def _lead(run: Run, base: object, dataset: str) -> str:
    what = "A model that writes SQL" if base is None else f"{cell(_short(base) or MISSING)} fine-tuned to write SQL"
    return f"{what}, scored on {run.summary['all']['count']:,} questions of {cell(dataset)}."


def _training(training: Training | None, base: str | None) -> str:
    if training is None:
        return f"Setup: {MISSING} (`--train-run`)."
    record, config, totals = training.record, _config(training), training.totals
    outcome_ = record.get("outcome", {})
    data = record.get("data", {})
    # LLaMA-Factory trains in fp32 unless it is told otherwise.
    precision = next((kind for kind in ("pure_bf16", "bf16", "fp16") if config.get(kind)), "fp32" if config else None)
    examples = (f"{name} {entry['examples']:,}" for name, entry in data.items() if "examples" in entry)
    execution = {entry["step"]: entry for entry in training.executions}.get(training.best_step)
    rows = [
        ("base model", base or _short(config.get("model_name_or_path"))),
        ("method", " ".join(str(config[key]) for key in ("finetuning_type", "stage") if key in config)),
        ("examples", ", ".join(examples)),
        ("epochs", config.get("num_train_epochs")),
        ("steps", outcome_.get("steps")),
        ("examples in a step", record.get("examples_per_step")),
        ("learning rate", config.get("learning_rate")),
        ("schedule", config.get("lr_scheduler_type")),
        ("warm-up", config.get("warmup_steps", config.get("warmup_ratio"))),
        ("longest example, tokens", config.get("cutoff_len")),
        ("precision", precision),
        ("seed", config.get("seed")),
        ("devices", len(record["gpus"]) or "CPU" if "gpus" in record else None),
        ("training loss", _rounded(totals.get("train_loss"))),
        ("validation loss", _rounded(totals.get("eval_loss"))),
        ("best checkpoint", None if training.best_step is None else f"step {training.best_step:,}"),
        ("chosen by", outcome_.get("metric")),
        (
            "its execution accuracy on the validation sample",
            None if execution is None else f"{percent(execution['execution'])} % of {execution['count']:,}",
        ),
        ("seconds", outcome_.get("seconds")),
        ("versions", _versions(record.get("versions", {}))),
    ]
    return table(["", ""], [[name, _told(value)] for name, value in rows])


def _generation(run: Run) -> str:
    record = run.record.get("generation")
    if record is None:
        return f"Setup: {MISSING} (the predictions were not made by `qsql generate`)."
    settings, engine = record.get("settings", {}), record.get("engine") or {}
    outcome_ = record.get("outcome", {})
    names = ("engine", "temperature", "top_p", "samples", "max_new_tokens", "self_consistency", "repair", "seed")
    rows = [
        ("model", _short(settings.get("model"))),
        *((name.replace("_", " "), _off(settings[name]) if name in settings else None) for name in names),
        ("data type", engine.get("dtype")),
        ("questions", outcome_.get("questions")),
        ("predictions that compile", outcome_.get("compiling")),
        ("versions", _versions({**record.get("versions", {}), **engine.get("versions", {})})),
    ]
    return table(["", ""], [[name, _told(value)] for name, value in rows])


def _protocol(run: Run) -> str:
    settings, evaluation = run.settings, run.evaluation
    rows = [
        ("golds", Path(settings["gold"]).name),
        ("databases", len(evaluation["sha256"]["suites"])),
        ("database files, with variants", run.summary["databases"]),
        ("values of the gold plugged in", _off(settings["plug_value"])),
        ("DISTINCT kept", _off(settings["keep_distinct"])),
        ("empty results counted", _off(settings["credit_empty"])),
        (
            "limits of a query",
            f"{settings['timeout']:g} s, {settings['max_steps']:,} steps, {settings['max_memory'] >> 20} MiB",
        ),
        ("versions", _versions(evaluation["versions"])),
    ]
    return table(["", ""], [[name, _told(value)] for name, value in rows])


def _files(run: Run, training: Training | None) -> list[tuple[str, str]]:
    hashes, settings = run.evaluation["sha256"], run.settings
    named = [
        (Path(settings[name]).name, hashes[name])
        for name in ("gold", "predictions", "tables")
        if settings[name] is not None
    ]
    if training is not None:
        named += [
            (f"{name} data", entry["sha256"])
            for name, entry in training.record.get("data", {}).items()
            if entry.get("sha256")
        ]
    return [(cell(name), code(digest) if digest else MISSING) for name, digest in named]


def _config(training: Training | None) -> Mapping[str, Any]:
    return {} if training is None else dict(training.record.get("config", {}))


def _name(run: Run, training: Training | None) -> str:
    if training is not None:
        return training.directory.resolve().name
    model = run.record.get("generation", {}).get("settings", {}).get("model")
    return run.name if model is None else Path(str(model)).name


def _short(model: object) -> str | None:
    """Name of a model: its id on the hub, or the last part of its folder."""
    if model is None:
        return None
    return _hub_id(model) or Path(str(model)).name


def _hub_id(model: object) -> str | None:
    """Id of a model on the hub; None for a folder."""
    text = str(model or "")
    return text if text.count("/") == 1 and _HUB_ID.fullmatch(text) and not Path(text).exists() else None


def _rounded(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _off(value: object) -> object:
    return {True: "yes", False: "no", None: "no"}.get(value, value) if isinstance(value, bool | None) else value


def _versions(versions: Mapping[str, str]) -> str | None:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or None


def _told(value: object) -> str:
    return MISSING if value is None or value == "" else cell(str(value))
