"""Execution rewards for reinforcement learning: completions in, a number for each out, and why.

`execution_reward` has the signature of TRL's trainers, `compute_score` and `compute_score_batched` those of verl. All
are faces of `ExecutionReward`, which judges the completions of a step in one native call. Neither TRL nor verl is
imported here; the sources of what they expect are named where it matters.

A completion is right if its SQL returns what the gold returns on every database of the suite: test-suite execution
accuracy as taoyds/test-suite-sql-eval defines it, but without credit for results that are empty everywhere.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from qsql._core import QsqlError, Scorer, Verdict
from qsql.files import require_writable
from qsql.outputs import is_occupied
from qsql.prompt import extract_sql
from qsql.visible import listed, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DATABASES_VARIABLE = "QSQL_DATABASES"
"""Environment variable that names the folder of databases where no argument does."""
GOLD_COLUMNS = ("gold", "query", "answer", "SQL", "output")
"""Columns that may hold the golds: those of Spider (`query`), BIRD (`SQL`) and `qsql data prepare` (`output`)."""
STATES = ("right", "wrong", "empty", "sql_error", "timeout", "too_large", "forbidden", "missing", "gold_error")
"""What can come of a completion; see `Outcome`."""
STAGES = ("nothing", "parses", "compiles", "runs", "right_width", "right_result")
"""How far a completion can come; see `Verdict.stage`."""

_DATABASE = "database: "
"""How the detail of a verdict begins whose database cannot be read."""
_LOG = logging.getLogger(__name__)
_VERL_SERVICES = frozenset({"reward_router_address", "reward_model_tokenizer"})


class Outcome(NamedTuple):
    """What came of one completion."""

    reward: float | None
    """1.0 if it is right, else its partial credit, 0.0 by default; None if its gold fails or a database cannot be
    read, so that nothing can be said."""
    state: str
    """"right" or "wrong" where it ran and was compared; "empty" where gold and completion return nothing on any
    database, which earns no credit; else the state of its `Verdict`: "sql_error", "timeout", "too_large", "forbidden",
    "missing" (there is no SQL in it) or "gold_error"."""
    stage: str | None
    """How far it came: one of `STAGES`; None if its gold fails."""
    detail: str | None
    """What is wrong with it, for people to read; None if it is right."""
    failed_on: str | None
    """File name of the first database that rejects it, or on which its gold fails."""
    sql: str
    """The SQL that was found in it; empty if there is none."""


class ExecutionReward:
    """Rewards completions by what their SQL returns.

    One is made for a training run and called for each step, by TRL or by hand. It may be shared by threads, works after
    a fork, and can be pickled: the copy opens its own databases in the process that uses it.

    Args:
        database_dir: Holds `<db_id>/<db_id>.sqlite` and any variants of it beside that file; by default what the
            environment variable QSQL_DATABASES names.
        variants: Judge on all files of a database, so that few wrong queries pass by chance; else on
            `<db_id>/<db_id>.sqlite` alone.
        credit_empty: Count a completion right that returns nothing where its gold returns nothing on any database. Off,
            unlike in evaluation: the empty result is the one that a policy learns to guess.
        keep_distinct: Keep DISTINCT, which the official protocol removes from gold and prediction.
        parses: Partial credit of a wrong completion whose SQL SQLite's grammar accepts.
        compiles: What is added if all its names and calls have a meaning in the database.
        runs: What is added if it runs to its end within the limits.
        right_width: What is added if its result has as many columns as the gold's. Like the other three it is at least
            0; together they are less than 1, which is the reward of the right result.
        gold_column: Column that holds the golds; by default the only one of `GOLD_COLUMNS` that is there.
        db_id_column: Column that names the database of each gold.
        gold_error: What a gold that fails on any database means, or a database that cannot be read: "skip" gives None
            to all completions, "raise" ends the run.
        threads: How many score; by default as many as the machine has cores, shared among the processes of torchrun or
            `accelerate launch` on this host (LOCAL_WORLD_SIZE).
        timeout: Seconds for one query on one database.
        max_steps: SQLite instructions for one query on one database; unlike time, the same on every machine. The
            default is a second or two of a query that never ends. Golds are under it too.
        max_memory: Bytes of memory for one query on one database.
        log: File, created with its folder, that gets a line of JSON for each call: `step` (None outside of TRL),
            `rank`, `reward` (the mean), `states`, `stages` (counts) and `completions` (outcomes with their golds).
        name: Name in the logs of TRL, which need different ones if a run has several rewards.

    Attributes:
        latest: Outcomes of the latest call in this process, in the order of its completions.

    Raises:
        QsqlError: If the folder of databases is not named or does not exist, or a setting makes no sense.
    """

    def __init__(
        self,
        database_dir: str | os.PathLike[str] | None = None,
        *,
        variants: bool = True,
        credit_empty: bool = False,
        keep_distinct: bool = False,
        parses: float = 0.0,
        compiles: float = 0.0,
        runs: float = 0.0,
        right_width: float = 0.0,
        gold_column: str | None = None,
        db_id_column: str = "db_id",
        gold_error: Literal["skip", "raise"] = "skip",
        threads: int | None = None,
        timeout: float = 30.0,
        max_steps: int = 100_000_000,
        max_memory: int = 134_217_728,
        log: str | os.PathLike[str] | None = None,
        name: str = "execution_reward",
    ) -> None:
        if gold_error not in {"skip", "raise"}:
            raise QsqlError(f'`gold_error` is {gold_error!r}\nhint: it is "skip" or "raise"')
        weights = {"parses": parses, "compiles": compiles, "runs": runs, "right_width": right_width}
        self._credit = _credit(weights)
        self._database_dir = _database_dir(database_dir)
        self._scorer_settings: dict[str, Any] = {
            "variants": variants,
            "credit_empty": credit_empty,
            "keep_distinct": keep_distinct,
            # Without credit for it, nobody asks whether what is wrong anyway would have come to an end.
            "run_to_end": runs > 0 or right_width > 0,
            "timeout": timeout,
            "max_steps": max_steps,
            "max_memory": max_memory,
        }
        self._threads = threads
        self._gold_column, self._db_id_column = gold_column, db_id_column
        self._raises = gold_error == "raise"
        self._log = None if log is None else _own_log(Path(log).absolute())
        self.__name__ = name  # what TRL calls the reward in its logs
        self.latest: tuple[Outcome, ...] = ()
        self._start()
        self._scorer()

    def _start(self) -> None:
        """Set what belongs to one process. After a fork the scorers of the parent are neither used nor closed."""
        self._scorers: dict[int, Scorer] = {}
        self._known_db_ids: set[str] = set()
        self._failing_golds: set[tuple[str, str]] = set()

    def __getstate__(self) -> dict[str, Any]:
        process = {"_scorers", "_known_db_ids", "_failing_golds", "latest"}
        return {name: value for name, value in self.__dict__.items() if name not in process}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.latest = ()
        self._start()

    def __repr__(self) -> str:
        return f"ExecutionReward({self._database_dir!r}, name={self.__name__!r})"

    @property
    def threads(self) -> int:
        """How many threads score in this process."""
        return self._scorer().threads

    def __call__(
        self,
        prompts: Sequence[Any] | None,
        completions: Sequence[Any],
        *,
        trainer_state: Any = None,
        log_extra: Any = None,
        log_metric: Any = None,
        **columns: Any,
    ) -> list[float | None]:
        """Reward the completions of a step, as a reward function of TRL's GRPOTrainer or RLOOTrainer.

        Definition: `_calculate_rewards` in TRL's `trl/trainer/grpo_trainer.py`, from 0.18 to 1.16.

        Args:
            prompts: Not looked at.
            completions: Texts, or conversations as lists of messages, of which the last by the assistant counts.
            trainer_state: Gives the log its step.
            log_extra: Where TRL has it, gets SQL, state, stage and detail of each completion for its table.
            log_metric: Where TRL has it, gets the share of the completions in each of `STATES`.
            columns: Columns of the data set, each as long as the completions; other things are ignored.

        Returns:
            For each completion 1.0, its partial credit, or None if its gold fails. TRL leaves None out of the mean, and
            such a completion has no part in the update.

        Raises:
            QsqlError: If a column is missing or of another length, something is no database name, the log cannot be
                written, or a gold fails and `gold_error` is "raise".
            KeyboardInterrupt: Soon after Ctrl-C.
        """
        if prompts is not None and len(prompts) != len(completions):
            raise QsqlError(
                f"{len(prompts)} prompts and {len(completions)} completions: the lists differ in length\n"
                "hint: give one prompt for each completion"
            )
        golds = self._column(self._gold_column or _gold_column(columns), columns, len(completions))
        db_ids = self._column(self._db_id_column, columns, len(completions))
        outcomes = self.judge(completions, golds, db_ids)
        if self._log is not None:
            _append_line(self._log, outcomes, golds, db_ids, getattr(trainer_state, "global_step", None))
        if log_extra is not None:
            for field in ("sql", "state", "stage", "detail"):
                log_extra(f"{self.__name__}/{field}", [getattr(outcome, field) or "" for outcome in outcomes])
        if log_metric is not None and outcomes:
            # Always all of them: TRL gathers each metric from all processes, and waits for those that lack one.
            for state, count in count_states(outcomes).items():
                log_metric(f"{self.__name__}/{state}", count / len(outcomes))
        return [outcome.reward for outcome in outcomes]

    def judge(self, completions: Sequence[Any], golds: Sequence[str], db_ids: Sequence[str]) -> list[Outcome]:
        """Judge completions, in one native call.

        Args:
            completions: Texts or conversations.
            golds: The right query of each.
            db_ids: The database of each.

        Returns:
            One outcome for each completion, in the same order.

        Raises:
            QsqlError: If the lists differ in length, an item is of the wrong type or no database name, or a gold fails
                and `gold_error` is "raise".
            KeyboardInterrupt: Soon after Ctrl-C.
        """
        golds, db_ids = list(golds), list(db_ids)
        count = len(completions)
        lengths = {len(completions), len(golds), len(db_ids)}
        if len(lengths) > 1:
            raise QsqlError(
                f"{len(completions)} completions, {len(golds)} golds and {len(db_ids)} database names: "
                "the lists differ in length\nhint: give one gold and one database name for each completion"
            )
        scorer = self._scorer()
        for index, (gold, db_id) in enumerate(zip(golds, db_ids, strict=True)):
            self._check_item(scorer, index, gold, db_id)
        texts = [_text(completion, index) for index, completion in enumerate(completions)]
        # Samples of a prompt are often the same.
        found = {text: extract_sql(text) for text in dict.fromkeys(texts)}
        queries = [found[text] for text in texts]
        # Each gold is a prediction too, behind the others: whether it fails must not depend on the completions.
        distinct = list(dict.fromkeys(zip(golds, db_ids, strict=True)))
        predictions = [*(query or None for query in queries), *(gold for gold, _ in distinct)]
        verdicts = scorer.score(
            [*golds, *(gold for gold, _ in distinct)], predictions, [*db_ids, *(db_id for _, db_id in distinct)], "exec"
        )
        pairs = [*zip(golds, db_ids, strict=True), *distinct]
        # A gold that is too long is not run as a prediction.
        failing = {
            pair: verdict
            for place, (pair, verdict) in enumerate(zip(pairs, verdicts, strict=True))
            if verdict.state == "gold_error" or (place >= count and verdict.state == "too_large")
        }
        outcomes = []
        for index, (verdict, query) in enumerate(zip(verdicts[:count], queries, strict=True)):
            failure = failing.get(pairs[index])
            if failure is None:
                outcomes.append(self._outcome(verdict, query))
                continue
            outcomes.append(Outcome(None, "gold_error", None, failure.detail, failure.failed_on, query))
            self._report_failure(index, golds[index], db_ids[index], outcomes[-1])
        self.latest = tuple(outcomes)
        return outcomes

    def _outcome(self, verdict: Verdict, query: str) -> Outcome:
        state: str = verdict.state
        if verdict.execution is True:
            state = "right"
        elif state == "scored":
            state = "empty" if verdict.stage == "right_result" else "wrong"
        reward = 1.0 if verdict.execution else None if verdict.stage is None else self._credit[verdict.stage]
        return Outcome(reward, state, verdict.stage, verdict.detail, verdict.failed_on, query)

    def _check_item(self, scorer: Scorer, index: int, gold: object, db_id: object) -> None:
        """Refuse what is no gold or names no database, before anything runs."""
        for noun, value in (("gold", gold), ("database name", db_id)):
            if not isinstance(value, str):
                raise QsqlError(
                    f"the {noun} of item {index} is {value!r:.80}, not a text\n"
                    f"hint: every completion needs the {noun} of its example"
                )
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise QsqlError(
                    f"the {noun} of item {index} is not valid UTF-8: {value!r:.80}\n"
                    "hint: `qsql data prepare` leaves such rows out"
                )
        if db_id in self._known_db_ids:
            return
        try:
            # Whether it can be read shows in the verdicts.
            is_readable = scorer.database_problem(str(db_id)) is None
        except QsqlError as error:
            raise QsqlError(f"item {index}: {error}") from None
        self._known_db_ids.add(str(db_id))
        for file, reason in scorer.left_out(str(db_id)) if is_readable else ():
            _LOG.warning("`%s` beside database `%s` is %s: no variant, left out", file, db_id, reason)

    def _report_failure(self, index: int, gold: str, db_id: str, outcome: Outcome) -> None:
        """Tell once of each gold that fails, and of each database that cannot be read."""
        detail = outcome.detail or ""
        is_database = detail.startswith(_DATABASE)
        if is_database:
            reason = detail.removeprefix(_DATABASE)
            message = f"item {index}: cannot read database `{outcome.failed_on}` of `{db_id}`: {reason}"
            hint = "mend the database, or leave its examples out"
        else:
            place = f"on `{outcome.failed_on}`" if outcome.failed_on else f"on database `{db_id}`"
            message = f"the gold of item {index} fails {place}: {detail.removeprefix('gold: ')}"
            hint = "mend the gold, raise the limits, or leave the example out"
        if self._raises:
            raise QsqlError(f"{message}\n`{gold}`\nhint: {hint}")
        known = (db_id, "" if is_database else gold)
        if known not in self._failing_golds:
            self._failing_golds.add(known)
            # A log may go to a terminal.
            of_gold = "" if is_database else f": `{visible(gold)}`"
            _LOG.warning("%s; its completions get no reward%s", visible(message), of_gold)

    def _column(self, name: str, columns: Mapping[str, Any], length: int) -> Sequence[str]:
        if name not in columns:
            raise QsqlError(
                f"the data set has no column `{name}`; it has {_listed(columns)}\n"
                "hint: a reward needs the gold and the name of the database of each example; TRL drops columns unless "
                "`remove_unused_columns` is False; other names go to ExecutionReward(gold_column=..., db_id_column=...)"
            )
        column: Sequence[str] = columns[name]
        if isinstance(column, str) or len(column) != length:
            found = "is a text" if isinstance(column, str) else f"has {len(column)} items"
            raise QsqlError(f"column `{name}` {found}, for {length} completions\nhint: give a list with one for each")
        return column

    def _scorer(self) -> Scorer:
        """The scorer of this process; one that came along by a fork may have locks that nobody will release."""
        scorer = self._scorers.get(os.getpid())
        if scorer is None:
            threads = self._threads
            processes = os.environ.get("LOCAL_WORLD_SIZE", "")
            if threads is None and processes.isdecimal() and int(processes) > 1:
                threads = max(1, Scorer(self._database_dir).threads // int(processes))
            new = Scorer(self._database_dir, threads=threads, **self._scorer_settings)
            # Atomic, so that threads that come at the same time share one.
            scorer = self._scorers.setdefault(os.getpid(), new)
        return scorer


def count_states(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Count the outcomes in each of `STATES`, those that none is in included."""
    counts = Counter(outcome.state for outcome in outcomes)
    return {state: counts[state] for state in STATES}


def execution_reward(prompts: Sequence[Any] | None, completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Reward completions by execution, on the databases in the folder that QSQL_DATABASES names.

    For TRL: `GRPOTrainer(reward_funcs=execution_reward, ...)`. The data set has a column of golds (one of
    `GOLD_COLUMNS`) and one of database names, `db_id`. Everything else is as in `ExecutionReward`, which has options.

    Args:
        prompts: Not looked at.
        completions: Texts or conversations.
        columns: Columns of the data set, and what TRL adds.

    Returns:
        For each completion 1.0 if it is right, 0.0 if not, None if its gold fails.

    Raises:
        QsqlError: As `ExecutionReward` and its call do.
    """
    return _shared(os.environ.get(DATABASES_VARIABLE))(prompts, completions, **columns)


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    *,
    details: bool = True,
    **settings: Any,
) -> dict[str, float | str] | float:
    """Score one completion, as a custom reward function of verl.

    Definition: `verl/workers/reward_manager/naive.py` and `verl/experimental/reward_loop/reward_manager/naive.py`. The
    managers that score one by one call it from several threads or processes, which share an evaluator in each process.

    Args:
        data_source: Not looked at.
        solution_str: The completion.
        ground_truth: Its gold.
        extra_info: Names the database, as `db_id`.
        details: Return a dict; else only the score, which is what the manager `prime` takes.
        settings: Arguments of `ExecutionReward`; verl takes them from `custom_reward_function.reward_kwargs`.

    Returns:
        `score` is the reward; `acc` 1.0 or 0.0, without partial credit; `pred` the SQL, which verl's majority vote
        takes; `state`, `stage` and `detail` are texts. verl has no "not applicable": where the gold fails all
        completions of a prompt score 0.0, so that group-relative advantages are 0 too.

    Raises:
        QsqlError: As `ExecutionReward` and its `judge` do, and if `extra_info` names no database.
    """
    (found,) = compute_score_batched([data_source], [solution_str], [ground_truth], [extra_info], **settings)
    return found if details else float(found["score"])


def compute_score_batched(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[str],
    extra_infos: Sequence[Mapping[str, Any] | None],
    **settings: Any,
) -> list[dict[str, float | str]]:
    """Score a batch of completions, as verl's reward manager `batch` wants it; see `compute_score`.

    Definition: `verl/workers/reward_manager/batch.py`.
    """
    lengths = [len(column) for column in (data_sources, solution_strs, ground_truths, extra_infos)]
    if len(set(lengths)) > 1:
        raise QsqlError(
            "{} data_sources, {} solution_strs, {} ground_truths and {} extra_infos: the lists differ in length\n"
            "hint: give one of each for every completion".format(*lengths)
        )
    # What a run with a reward model besides passes to every function.
    own = {name: value for name, value in settings.items() if name not in _VERL_SERVICES}
    reward = _shared(own.pop("database_dir", None) or os.environ.get(DATABASES_VARIABLE), **own)
    db_ids = [_db_id(extra_info, index) for index, extra_info in enumerate(extra_infos)]
    outcomes = reward.judge(solution_strs, ground_truths, db_ids)
    return [
        {
            "score": outcome.reward or 0.0,
            "acc": float(outcome.state == "right"),
            "pred": outcome.sql,
            "state": outcome.state,
            "stage": outcome.stage or "",
            "detail": outcome.detail or "",
        }
        for outcome in outcomes
    ]


@functools.lru_cache(maxsize=32)
def _shared(database_dir: str | None, **settings: Any) -> ExecutionReward:
    """The reward of these settings in this process."""
    return ExecutionReward(database_dir, **settings)


def _credit(weights: Mapping[str, float]) -> dict[str, float]:
    """Partial credit of each stage: the weights up to it."""
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise QsqlError(f"partial credit `{name}` is {weight}\nhint: give a number from 0 to less than 1")
    total = math.fsum(weights.values())
    if total >= 1:
        raise QsqlError(
            f"partial credits sum up to {total:g}, as much as the right result earns\n"
            "hint: let `parses`, `compiles`, `runs` and `right_width` sum up to less than 1"
        )
    # Whether a result earns credit that is right but empty is the evaluator's business; here it is a wrong one.
    credit = {"nothing": 0.0, "right_result": total}
    for count, name in enumerate(weights, 1):
        credit[name] = math.fsum(list(weights.values())[:count])
    return credit


def _database_dir(given: str | os.PathLike[str] | None) -> str:
    folder = given if given is not None else os.environ.get(DATABASES_VARIABLE)
    if not folder:
        raise QsqlError(
            "no folder of databases is named\n"
            f"hint: set {DATABASES_VARIABLE} to the folder that holds `<db_id>/<db_id>.sqlite`, or give it to "
            "ExecutionReward"
        )
    # Absolute, since a worker may run in another directory.
    return str(Path(folder).absolute())


def _own_log(path: Path) -> Path:
    """See that a log is none yet or one of rewards: other files are not appended to."""
    if not is_occupied(path):
        return path
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline())
    except (OSError, ValueError):
        first = None
    if not isinstance(first, dict) or not first.keys() >= {"step", "rank", "states"}:
        raise QsqlError(f"`{path}` exists and is no log of rewards\nhint: name another file for `log`")
    return path


def _append_line(
    path: Path, outcomes: Sequence[Outcome], golds: Sequence[str], db_ids: Sequence[str], step: int | None
) -> None:
    """Add what came of a call to a log."""
    rewards = [outcome.reward for outcome in outcomes if outcome.reward is not None]
    rank = os.environ.get("RANK", "")
    line = {
        "step": step,
        "rank": int(rank) if rank.isdecimal() else 0,
        "reward": math.fsum(rewards) / len(rewards) if rewards else None,
        "states": count_states(outcomes),
        "stages": dict(Counter(outcome.stage for outcome in outcomes if outcome.stage is not None)),
        "completions": [
            {"db_id": db_id, "gold": gold, **outcome._asdict()}
            for db_id, gold, outcome in zip(db_ids, golds, outcomes, strict=True)
        ],
    }
    require_writable(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One write to a file opened for appending, so that processes do not cut each other's lines.
        with path.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")
    except OSError as error:
        raise QsqlError(f"cannot write `{path}`: {error}\nhint: name another file, or no log") from None


def _gold_column(columns: Mapping[str, Any]) -> str:
    found = [name for name in GOLD_COLUMNS if name in columns]
    if len(found) == 1:
        return found[0]
    if found:
        raise QsqlError(
            f"the golds may be in any of the columns {_listed(found)}\nhint: say which with "
            "ExecutionReward(gold_column=...)"
        )
    raise QsqlError(
        f"the data set has none of the columns {_listed(GOLD_COLUMNS)}; it has {_listed(columns)}\n"
        "hint: name the column of the golds with ExecutionReward(gold_column=...); TRL drops columns unless "
        "`remove_unused_columns` is False"
    )


def _db_id(extra_info: Mapping[str, Any] | None, index: int) -> str:
    if extra_info is None or "db_id" not in extra_info:
        raise QsqlError(
            f"`extra_info` of item {index} has no `db_id`; it has {_listed(extra_info or {})}\n"
            "hint: write the database of each example into `extra_info` when you prepare the data for verl"
        )
    db_id: str = extra_info["db_id"]
    return db_id


def _listed(names: Mapping[str, Any] | Sequence[str]) -> str:
    return listed(f"`{name}`" for name in names) or "none"


def _text(completion: object, index: int) -> str:
    """The text of a completion: itself, or what the assistant says last in a conversation."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, list) and all(isinstance(message, dict) for message in completion):
        said = [message.get("content") for message in completion if message.get("role", "assistant") == "assistant"]
        content = said[-1] if said else None
        if isinstance(content, list):
            parts = [part.get("text") for part in content if isinstance(part, dict)]
            return "".join(part for part in parts if isinstance(part, str))
        # A message that only calls tools has no content.
        if content is None or isinstance(content, str):
            return content or ""
    raise QsqlError(
        f"completion {index} is {completion!r:.80}\nhint: give a text, or a list of messages with `role` and `content`"
    )
