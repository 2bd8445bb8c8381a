"""Why a training run failed: finds in its log what a user can do something about."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qsql._core import QsqlError

if TYPE_CHECKING:
    from pathlib import Path

TAIL_BYTES = 1 << 18
_EXCEPTION = re.compile(r"^((?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt)(?::.*)?)$", re.MULTILINE)
_RANK = re.compile(r"^\[rank\d+\]: ?", re.MULTILINE)
"""What torch puts before each line of a traceback in one of several processes."""
_OF_TORCHRUN = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError"
"""Says that a process has failed, below what that process said itself."""
# As many lines as a message of ours has at most.
_REFUSAL = re.compile(r"^(?:\w+\.)*QsqlError: ([^\n]*(?:\n(?!hint: )[^\n]*){0,4})\nhint: ([^\n]*)", re.MULTILINE)
_KILLED = re.compile(r"Signal 9 \(SIGKILL\) received by PID|exitcode: -9\b")


@dataclass(frozen=True)
class _Cause:
    pattern: re.Pattern[str]
    message: str
    hint: str


def _cause(pattern: str, message: str, hint: str) -> _Cause:
    return _Cause(re.compile(pattern), message, hint)


# In messages and hints, {1} is the first group of the pattern.
_CAUSES = (
    _cause(
        r"No module named '(llamafactory|torch|transformers|datasets|trl|peft|accelerate|omegaconf)(?=['.])",
        "`{1}` is not installed",
        "pip install 'qsql-lab[train]' and pip install --no-deps llamafactory==0.9.5",
    ),
    _cause(
        r"(?:OutOfMemoryError|CUDA out of memory|HIP out of memory)",
        "the GPU has too little memory",
        "set disable_gradient_checkpointing=false, a lower --checkpoint-above, a smaller per_device_train_batch_size "
        "with more gradient_accumulation_steps, or a smaller cutoff_len; or train configs/train/qwen3_4b_lora.yaml",
    ),
    _cause(
        r"Template (\S+) does not exist",
        "LLaMA-Factory has no template `{1}`",
        "set `template` to one that it has, such as qwen3_nothink; qwen3_nothink needs llamafactory 0.9.4 or later",
    ),
    _cause(
        r"Some keys are not used by the HfArgumentParser: \[([^\]\n]{0,2000})\]",
        "LLaMA-Factory does not know the keys {1}",
        "the installed version is not the one that qsql checks for; install llamafactory==0.9.5",
    ),
    _cause(
        r"doesn't support bf16/gpu|No CUDA GPUs are available|Found no NVIDIA driver|Torch not compiled with CUDA",
        "there is no GPU that torch can use",
        "set use_cpu=true to train on the CPU, or install a torch built for your GPU",
    ),
    _cause(
        r"no file named (?:pytorch_model\.bin|model\.safetensors)[^\n]{0,500}?directory (\S+)|"
        r"(?<!\S)(\S+) is not a local folder and is not a valid model identifier|couldn't connect to '?([^\s']*)|"
        r"offline mode is enabled[^\n]*|Unable to load weights|"
        r"Cannot find (?:the )?(?:requested|an appropriate cached)",
        "the weights of the model are not there",
        "set model_name_or_path to a folder with config.json, tokenizer and *.safetensors, or allow the download",
    ),
    _cause(r"To fix: run `([^`]*)`", "a package is missing or has another version", "{1}"),
    _cause(
        r"Output directory already exists and is not empty",
        "the output folder holds a finished run",
        "choose another output_dir",
    ),
    _cause(r"No space left on device", "the disk is full", "make room, or set save_total_limit=1"),
    _cause(
        r"Please launch distributed training with",
        "several GPUs are visible to one process",
        "set CUDA_VISIBLE_DEVICES to one of them, or to all for torchrun",
    ),
)


def explain(log: Path, status: int, begin: int = 0) -> QsqlError:
    """Tell why a training process failed, from the end of its log.

    Args:
        log: What the process has written, and torchrun where it started several.
        status: Its exit status; negative: a signal.
        begin: Where its part of the log begins, in bytes. What is before is of earlier tries.
    """
    text = _RANK.sub("", _tail(log, begin))
    for cause in _CAUSES:
        # The first failure causes the later ones, of other processes for instance.
        if match := cause.pattern.search(text):
            group = next((part for part in match.groups() if part), "")
            message, hint = (line.replace("{1}", group) for line in (cause.message, cause.hint))
            return QsqlError(f"training failed: {message}; the log is `{log}`\nhint: {hint}")
    if refusal := _REFUSAL.search(text):
        return QsqlError(f"training failed: {refusal[1]}; the log is `{log}`\nhint: {refusal[2]}")
    if status < 0 or _KILLED.search(text):
        name = signal.Signals(-status if status < 0 else signal.SIGKILL).name
        hint = "the machine may have run out of memory" if name == "SIGKILL" else "see the end of the log"
        return QsqlError(f"training was ended by {name}; the log is `{log}`\nhint: {hint}; `--resume` goes on")
    exceptions = [found for found in _EXCEPTION.findall(text) if not found.startswith(_OF_TORCHRUN)]
    last = exceptions[-1] if exceptions else f"exit status {status}"
    return QsqlError(f"training failed: {last}\nhint: the whole log is `{log}`")


def _tail(log: Path, begin: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(begin, file.tell() - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
