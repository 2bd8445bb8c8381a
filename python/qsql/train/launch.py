"""Runs a plan: starts the worker, follows its logs, passes Ctrl-C on, and says what came out of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qsql import records, results
from qsql._core import QsqlError
from qsql.children import child_environment, python_command
from qsql.directories import NO_TOKEN, hub_token
from qsql.train import environment
from qsql.train.curves import draw_curves
from qsql.train.failures import explain
from qsql.train.plan import LOG, Plan, write_plan
from qsql.train.progress import Progress
from qsql.train.sharding import fsdp_config
from qsql.training_log import ANSWERS_DIRECTORY, EXECUTION_LOG, STEP_LOG, TRAINER_LOG, TRAINER_STATE, LogReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

POLL_SECONDS = 0.2
GRACE_SECONDS = 20.0
"""What the worker gets after Ctrl-C, before it is killed."""


@dataclass(frozen=True)
class Outcome:
    """What a finished run has produced."""

    steps: int
    best_step: int | None
    """Step of the best checkpoint, if one was chosen."""
    best_metric: float | None
    metric: str | None
    seconds: float
    curves: Path | None


def command(plan: Plan) -> list[str]:
    """The command of the worker: one process, or torchrun for several GPUs and for DeepSpeed."""
    worker = ("-m", "qsql.train.worker", str(plan.run_directory), "--with-parent")
    # LLaMA-Factory refuses DeepSpeed outside of torchrun, on one GPU too.
    if len(plan.gpus) > 1 or plan.config.values.get("deepspeed"):
        torchrun = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={len(plan.gpus) or 1}")
        return python_command(*torchrun, *worker)
    return python_command(*worker)


def run(plan: Plan, argv: Sequence[str], progress: Callable[[Progress], object] | None = None) -> Outcome:
    """Train as planned.

    Args:
        plan: A checked run.
        argv: The command line, for the record.
        progress: Called whenever the logs say something new.

    Raises:
        QsqlError: If this is Windows, packages are missing, there is no GPU or too little disk, or the worker fails;
            its log is kept.
        KeyboardInterrupt: After Ctrl-C, when the worker has ended.
    """
    environment.require_signals(os.name)
    environment.require_packages(plan.versions)
    for problem in plan.problems():
        # Memory is an estimate; what it says may be wrong, so it stops nothing.
        if not problem.startswith("the run needs about"):
            raise QsqlError(problem)
    write_plan(plan, argv)
    directory = plan.run_directory
    if plan.resume_from is None:
        for name in (LOG, EXECUTION_LOG, STEP_LOG, TRAINER_LOG):
            (directory / name).unlink(missing_ok=True)
        for answers in (directory / ANSWERS_DIRECTORY).glob("step-*.jsonl"):
            answers.unlink()
    log = directory / LOG
    begin = log.stat().st_size if log.is_file() else 0
    started = time.perf_counter()
    status = _follow(plan, progress)
    seconds = time.perf_counter() - started
    if status != 0:
        # What was logged is worth seeing even so.
        with contextlib.suppress(OSError):
            draw_curves(directory)
        raise explain(log, status, begin)
    return _finish(plan, seconds)


def _follow(plan: Plan, progress: Callable[[Progress], object] | None) -> int:
    directory = plan.run_directory
    readers = [LogReader(directory / name) for name in (TRAINER_LOG, STEP_LOG, EXECUTION_LOG)]
    for reader in readers:
        reader.skip()
    figures = _begin(plan)
    with (directory / LOG).open("ab") as log:
        # A session of its own: the terminal sends Ctrl-C to us alone, and we pass it on once.
        child = subprocess.Popen(  # noqa: S603
            command(plan),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=variables(plan),
            start_new_session=True,
        )
        try:
            while True:
                try:
                    status: int | None = child.wait(POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    status = None
                entries = [entry for reader in readers for entry in reader.new_entries()]
                for entry in entries:
                    figures.update(entry)
                if entries and progress is not None:
                    progress(figures)
                if status is not None:
                    return status
        except BaseException:
            _end(child)
            raise
        finally:
            if child.stdin is not None:
                child.stdin.close()


def _begin(plan: Plan) -> Progress:
    if plan.resume_from is None:
        return Progress(steps=plan.steps)
    state = _state(plan.resume_from)
    step, tokens = int(state["global_step"]), int(state.get("num_input_tokens_seen") or 0)
    return Progress(first_step=step, first_tokens=tokens, step=step, steps=plan.steps)


def _state(folder: Path) -> dict[str, Any]:
    # Losses that are no numbers stand in it as NaN.
    return dict(results.read_json(folder / TRAINER_STATE, records.TRAINER_STATE, allow_nan=True))


def variables(plan: Plan) -> dict[str, str]:
    """The environment of the worker; what the user has set stays, except for the buffering of the log."""
    ours = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    if plan.config.values.get("fsdp"):
        # transformers 5.6 does not hand it from the file to accelerate, whose default saves shards and no model.
        ours["FSDP_STATE_DICT_TYPE"] = fsdp_config(plan.config.values).get("state_dict_type", "FULL_STATE_DICT")
    if hub_token() is False:
        ours[NO_TOKEN] = "1"
    return {**ours, **child_environment(), "PYTHONUNBUFFERED": "1"}


def _end(child: subprocess.Popen[bytes]) -> None:
    """Pass Ctrl-C on, and kill what has not ended after a while. A second Ctrl-C does not wait."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGINT)
    try:
        child.wait(GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    finally:
        # Also what the worker has started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _finish(plan: Plan, seconds: float) -> Outcome:
    directory = plan.run_directory
    state = _state(directory)
    best, metric = state.get("best_model_checkpoint"), plan.config.values.get("metric_for_best_model", "loss")
    number = str(best).rpartition("-")[2]
    best_step = int(number) if number.isdecimal() else None
    outcome = Outcome(
        steps=int(state["global_step"]),
        best_step=best_step,
        best_metric=state.get("best_metric") if best else None,
        metric=str(metric) if best else None,
        seconds=seconds,
        curves=draw_curves(directory, best_step),
    )
    training = results.run_record(directory)["training"]
    training["outcome"] = {
        "steps": outcome.steps,
        "best_step": best_step,
        "best_metric": outcome.best_metric,
        "metric": outcome.metric,
        "seconds": round(seconds, 1),
    }
    results.write_record(directory, "training", training)
    if not any(file.suffix in {".safetensors", ".bin"} for file in directory.iterdir()):
        raise QsqlError(
            f"training has ended, and there are no weights in `{directory}`\n"
            "hint: checkpoints that are divided among GPUs are put together by `accelerate merge-weights`; for a whole "
            "model at the end set state_dict_type to FULL_STATE_DICT (FSDP), or "
            "stage3_gather_16bit_weights_on_model_save to true (DeepSpeed)"
        )
    return outcome
