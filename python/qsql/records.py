"""The shapes of what stands in run directories, which people edit, copy, and fill by other means."""

from __future__ import annotations

from qsql.shapes import (
    FLAG,
    INTEGER,
    NUMBER,
    OBJECT,
    TEXT,
    FileName,
    Kind,
    ListOf,
    MapOf,
    Nullable,
    OneOf,
    Record,
    Shape,
)

LEVELS = ("easy", "medium", "hard", "extra")
TURNS = ("turn 1", "turn 2", "turn 3", "turn 4", "turn > 4")
COMPONENTS = (
    *("select", "select(no AGG)", "where", "where(no OP)", "group(no Having)"),
    *("group", "order", "and/or", "IUEN", "keywords"),
)
STATES = ("scored", "sql_error", "timeout", "too_large", "forbidden", "gold_error", "missing")

_SHARE = Nullable(NUMBER)
_INTERVAL = Nullable(ListOf(NUMBER, 2))
_SHARES = {"exact": _SHARE, "exact_interval": _INTERVAL, "execution": _SHARE, "execution_interval": _INTERVAL}

VERDICT = Record(
    {
        "index": INTEGER,
        "id": TEXT,
        "db_id": TEXT,
        "turn": INTEGER,
        "hardness": Nullable(OneOf(LEVELS)),
        "exact": Nullable(FLAG),
        "execution": Nullable(FLAG),
        "canonical_exact": Nullable(FLAG),
        "state": OneOf(STATES),
        "partial": Nullable(Record(dict.fromkeys(COMPONENTS, ListOf(NUMBER, 5)))),
        **dict.fromkeys(("rejected", "gold_rejected", "failed_on", "detail"), Nullable(TEXT)),
        "capped": FLAG,
    }
)
"""A line of `verdicts.jsonl`."""
EXAMPLE = Record(
    {
        "id": TEXT,
        "db_id": TEXT,
        "interaction": INTEGER,
        "question": Nullable(TEXT),
        "gold": TEXT,
        "prediction": Nullable(TEXT),
    }
)
"""A line of `examples.jsonl`."""
TOTALS = Record(
    {
        "count": INTEGER,
        **_SHARES,
        "canonical_exact": _SHARE,
        "partial": Nullable(Record(dict.fromkeys(COMPONENTS, Record(dict.fromkeys(("acc", "rec", "f1"), NUMBER))))),
        "states": Record(dict.fromkeys(STATES, INTEGER)),
        "rejected": INTEGER,
    }
)
"""Totals of some verdicts."""
SUMMARY = Record(
    {
        **dict.fromkeys((*LEVELS, "all"), TOTALS),
        "joint_all": Nullable(Record({"count": INTEGER, **_SHARES})),
        **dict.fromkeys(("databases", "executions", "threads"), INTEGER),
        "seconds": NUMBER,
    },
    dict.fromkeys(TURNS, TOTALS),
)
"""`summary.json`."""
SUMMARY_OF_TURNS = Record(dict.fromkeys(TURNS, TOTALS))
"""What it has besides where golds are interactions."""

_VERSIONS = MapOf(Nullable(TEXT))
_SETTINGS: dict[str, Shape] = {
    **dict.fromkeys(("gold", "predictions", "database_dir"), FileName()),
    "tables": Nullable(FileName()),
    **dict.fromkeys(("plug_value", "keep_distinct", "credit_empty"), FLAG),
    "timeout": NUMBER,
    **dict.fromkeys(("max_steps", "max_memory"), INTEGER),
}
# A database that cannot be read has no hash.
_SUITES = MapOf(Nullable(TEXT))
_HASHES: dict[str, Shape] = {"gold": TEXT, "predictions": TEXT, "tables": Nullable(TEXT), "suites": _SUITES}
_OWN_VERSIONS: dict[str, Shape] = dict.fromkeys(("qsql", "sqlite", "python"), TEXT)
_ORIGIN: dict[str, Shape] = {"fingerprint": TEXT, "directory": FileName()}
_EVALUATION = Record(
    {},
    {
        **_ORIGIN,
        "settings": Record({}, _SETTINGS),
        "sha256": Record({}, _HASHES),
        "versions": Record({}, _OWN_VERSIONS),
    },
)
_GENERATION = Record(
    {},
    {
        "fingerprint": TEXT,
        "settings": Record({}, {"model": Nullable(TEXT)}),
        "engine": Nullable(Record({}, {"versions": _VERSIONS})),
        "outcome": OBJECT,
        "versions": _VERSIONS,
    },
)
_TRAINING = Record(
    {},
    {
        "config": OBJECT,
        "data": MapOf(Record({}, {"sha256": Nullable(TEXT), "examples": INTEGER})),
        "examples_per_step": INTEGER,
        "gpus": Kind("a list", (list,)),
        "options": OBJECT,
        "outcome": Record(
            {},
            {
                **dict.fromkeys(("steps", "best_step"), Nullable(INTEGER)),
                **dict.fromkeys(("best_metric", "seconds"), Nullable(NUMBER)),
                "metric": Nullable(TEXT),
            },
        ),
        "versions": _VERSIONS,
    },
)
RUN = Record({}, {"evaluation": _EVALUATION, "generation": _GENERATION, "training": _TRAINING})
"""`run.json`: what each command that wrote to the directory says of itself, if it says it."""
SCORED_RUN = Record(
    {
        "evaluation": Record(
            {"settings": Record(_SETTINGS), "sha256": Record(_HASHES), "versions": Record(_OWN_VERSIONS)}, _ORIGIN
        )
    }
)
"""The same of a run that was scored, with all that reports show."""
EXECUTION_ENTRY = Record({"step": INTEGER, "execution": NUMBER, "correct": INTEGER, "count": INTEGER})
"""A line of `execution.jsonl`."""
TRAINER_ENTRY = Record(
    {}, {**dict.fromkeys(("current_steps", "step"), INTEGER), **dict.fromkeys(("loss", "eval_loss", "lr"), _SHARE)}
)
"""A line of `trainer_log.jsonl`."""
TRAINING_TOTALS = Record({}, dict.fromkeys(("train_loss", "eval_loss"), _SHARE))
"""`all_results.json`."""
TRAINER_STATE = Record(
    {"global_step": INTEGER},
    {"num_input_tokens_seen": Nullable(NUMBER), "best_model_checkpoint": Nullable(TEXT), "best_metric": _SHARE},
)
"""`trainer_state.json`, as transformers writes it."""
