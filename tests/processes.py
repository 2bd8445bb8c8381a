"""Processes that tests start: each is ended with its test, whatever becomes of that, and waits are for events."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

PATIENCE = 300.0
"""Seconds after which a test says that something hangs. No limit on how fast anything is."""


@contextmanager
def started(command, **options):
    """Start a process in a group of its own; behind the block it is killed with all that it has started."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    process = subprocess.Popen(list(map(str, command)), start_new_session=True, **options)
    try:
        yield process
    finally:
        # What it has started may outlive it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def qsql(*arguments):
    """The command of `qsql` with arguments."""
    return [sys.executable, "-m", "qsql", *map(str, arguments)]


def wait_for(condition, process=None):
    """Wait until something is so; fails if the process ends before, or if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process is not None and process.poll() is not None:
            said = process.stderr.read() if process.stderr is not None else ""
            raise AssertionError(f"ended with {process.returncode} before it was so: {said}")
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(0.01)


def stop(process, number):
    """Send a signal and wait for the end; returns the exit status, what was printed, and what was said."""
    process.send_signal(number)
    printed, said = process.communicate(timeout=PATIENCE)
    return process.returncode, printed, said
