"""What is read from the logs of a run: progress while it goes on, and the cause when it fails."""

from __future__ import annotations

import pytest

from qsql.train.failures import explain
from qsql.train.progress import Progress
from qsql.training_log import LogReader, latest_by_step, read_log

STEP = '{"current_steps": 40, "total_steps": 3500, "loss": 0.5123, "lr": 5e-06, "epoch": 0.1, "percentage": 1.1, '
STEP += '"elapsed_time": "0:01:20", "remaining_time": "1:00:00", "throughput": 9999.9, "total_tokens": 112000}\n'
TIMES = {"step": 40, "loss": 0.5123, "seconds": 80.0, "tokens": 108880}


def test_a_line_of_progress_says_what_matters(tmp_path):
    log = tmp_path / "trainer_log.jsonl"
    log.write_text(STEP + '{"current_steps": 40, "total_steps": 3500, "eval_loss": 0.61}\n', encoding="utf-8")
    progress = Progress(steps=3500)
    for entry in read_log(log):
        progress.update(entry)
    progress.update(TIMES)
    progress.update({"step": 40, "execution": 0.325, "seconds": 3.0})
    line = "step 40/3,500  loss 0.5123  eval loss 0.6100  execution 32.5%  lr 5.0e-06  1,361 tokens/s  1:55:20 left"
    assert str(progress) == line


def test_a_resumed_run_is_as_fast_as_its_own_steps():
    # LLaMA-Factory divides what was seen before by the time since.
    progress = Progress(first_step=30, first_tokens=100_000, step=30, steps=3500)
    progress.update({"step": 30, "loss": 0.5, "seconds": 0.0, "tokens": 100_000})
    assert str(progress) == "step 30/3,500  loss 0.5000"
    progress.update(TIMES)
    assert str(progress) == "step 40/3,500  loss 0.5123  111 tokens/s  7:41:20 left"


def test_tokens_that_are_not_counted_have_no_rate():
    progress = Progress(steps=80)
    progress.update(TIMES | {"tokens": 0})
    assert str(progress) == "step 40/80  loss 0.5123  0:01:20 left"


def test_lines_are_read_once_and_only_when_they_are_finished(tmp_path):
    log = tmp_path / "log"
    reader = LogReader(log)
    assert reader.new_entries() == []
    log.write_text('{"step": 1}\n{"st', encoding="utf-8")
    assert reader.new_entries() == [{"step": 1}]
    with log.open("a", encoding="utf-8") as file:
        file.write('ep": 2}\nno json\n{"step": 3}\n')
    assert reader.new_entries() == [{"step": 2}, {"step": 3}]
    assert reader.new_entries() == []
    log.write_text('{"step": 9}\n', encoding="utf-8")
    assert reader.new_entries() == [{"step": 9}]


def test_steps_done_again_count_as_they_came_out_last():
    entries = [{"current_steps": step, "loss": loss} for step, loss in ((1, 4.0), (2, 3.0), (3, 2.5), (2, 2.0))]
    assert latest_by_step(entries, "loss") == ([1, 2, 3], [4.0, 2.0, 2.5])


CHILD_FAILED = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n===\n"
KILLED = "  exitcode  : -9 (pid: 7)\n  traceback : Signal 9 (SIGKILL) received by PID 7\n"


@pytest.mark.parametrize(
    ("log", "status", "message", "hint"),
    [
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
            1,
            "the GPU has too little memory",
            "disable_gradient_checkpointing=false",
        ),
        ("ValueError: Template qwen9 does not exist.", 1, "has no template `qwen9`", "set `template`"),
        (
            "ValueError: Some keys are not used by the HfArgumentParser: ['cutof_len']",
            1,
            "does not know the keys 'cutof_len'",
            "install llamafactory==0.9.5",
        ),
        (
            "ModuleNotFoundError: No module named 'llamafactory'",
            1,
            "`llamafactory` is not installed",
            "pip install 'qsql-lab[train]'",
        ),
        ("ValueError: Your setup doesn't support bf16/gpu.", 1, "there is no GPU that torch can use", "use_cpu=true"),
        (
            "OSError: Qwen/Qwen9 is not a local folder and is not a valid model identifier listed on",
            1,
            "the weights of the model are not there",
            "model_name_or_path",
        ),
        (
            "OSError: Error no file named model.safetensors, or pytorch_model.bin, found in directory m",
            1,
            "the weights of the model are not there",
            "model_name_or_path",
        ),
        (
            "ImportError: x\nTo fix: run `pip install liger-kernel`.",
            1,
            "a package is missing",
            "pip install liger-kernel",
        ),
        ("OSError: [Errno 28] No space left on device", 1, "the disk is full", "make room"),
        ("loading", -9, "ended by SIGKILL", "run out of memory; `--resume` goes on"),
        ("  raise X\nqsql._core.QsqlError: it is odd\nhint: make it even\n", 1, "it is odd", "make it even"),
        ("Traceback\n  File x\nKeyError: 'abc'\n", 1, "KeyError: 'abc'", "the whole log is"),
        ("", 3, "exit status 3", "the whole log is"),
        ("ModuleNotFoundError: No module named 'torchvision'", 1, "named 'torchvision'", "the whole log is"),
        # Several processes, and what torchrun adds.
        (
            "[rank1]: qsql._core.QsqlError: it is odd\n[rank1]: hint: make it even\n" + CHILD_FAILED,
            1,
            "failed: it is odd;",
            "make it even",
        ),
        (
            "[rank0]: Traceback\n[rank0]: KeyError: 'abc'\n" + CHILD_FAILED,
            1,
            "failed: KeyError: 'abc'",
            "the whole log is",
        ),
        (CHILD_FAILED + KILLED, 1, "ended by SIGKILL", "run out of memory; `--resume` goes on"),
    ],
)
def test_a_failure_is_explained(tmp_path, log, status, message, hint):
    path = tmp_path / "train.log"
    path.write_text(f"some lines\n{log}\n", encoding="utf-8")
    text, _, last = str(explain(path, status)).rpartition("\nhint: ")
    assert message in text
    assert hint in last
    assert str(path) in text + last


def test_the_first_cause_counts_and_a_missing_log_is_no_crash(tmp_path):
    path = tmp_path / "train.log"
    path.write_text("torch.OutOfMemoryError: CUDA out of memory\nConnectionError: rank 1 is gone\n", encoding="utf-8")
    assert "too little memory" in str(explain(path, 1))
    assert "exit status 1" in str(explain(tmp_path / "none", 1))


def test_a_failure_is_not_explained_by_what_an_earlier_try_wrote(tmp_path):
    path = tmp_path / "train.log"
    earlier = "torch.OutOfMemoryError: CUDA out of memory\n"
    path.write_text(earlier + "KeyError: 'abc'\n", encoding="utf-8")
    assert "KeyError: 'abc'" in str(explain(path, 1, len(earlier)))
