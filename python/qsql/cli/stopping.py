"""How a command ends that is told to: SIGTERM of a scheduler and SIGHUP of a closing terminal do what Ctrl-C does.

One path saves what is finished and says so. The exit status is 128 and the number of the signal.
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERRUPTED = 128 + signal.SIGINT
# Windows has no SIGHUP.
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def stopping() -> Iterator[None]:
    """Let signals end the command within as `KeyboardInterrupt`, and the process with their exit status."""
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        # A second one finds the command saving what it has, which is not to be broken off.
        if not received:
            received.append(number)
            raise KeyboardInterrupt

    # What ignores a signal, as under nohup, goes on ignoring it.
    ours = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    except (KeyboardInterrupt, OSError):
        # Where the terminal has gone, what is written there fails on the way.
        if received:
            sys.exit(128 + received[0])
        raise
    except SystemExit as end:
        if received and end.code == INTERRUPTED:
            sys.exit(128 + received[0])
        raise
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
