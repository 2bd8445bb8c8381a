"""Several devices of one host: one process each, with a copy of the model and a share of the requests.

Shares are made before anything runs, by dealing out the prompts by length, so that all devices finish at about the same
time and every run deals in the same way.
"""

from __future__ import annotations

import multiprocessing
import signal
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.children import safe_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.context import SpawnProcess

    from qsql.engines import Batch, Decoding, EngineSettings, Request

    Worker = tuple[str, SpawnProcess, Connection]
    """A device, its process, and the line to it."""


class ParallelEngine:
    """Completes prompts on several devices.

    Args:
        settings: The model and how it runs.
        devices: Like `("cuda:0", "cuda:1")`.

    Raises:
        QsqlError: If a process cannot load the model.
    """

    def __init__(self, settings: EngineSettings, devices: Sequence[str]) -> None:
        # A forked child could not use CUDA.
        context = multiprocessing.get_context("spawn")
        self._workers: list[Worker] = []
        self._descriptions: list[dict[str, Any]] = []
        self._memory: dict[str, dict[str, Any]] = {}
        try:
            for device in devices:
                connection, end = context.Pipe()
                process = context.Process(
                    target=_work, args=(replace(settings, devices=(device,)), device, end), daemon=True
                )
                with safe_path():
                    process.start()
                # Only the child holds this end now, so that its death is heard here.
                end.close()
                self._workers.append((device, process, connection))
            for worker in self._workers:
                self._descriptions.append(_receive(worker)[1])
        except BaseException:
            self.close()
            raise

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[Batch]:
        """Complete requests on all devices.

        Raises:
            QsqlError: If a device cannot go on.
        """
        order = sorted(range(len(requests)), key=lambda position: (-len(requests[position].prompt), position))
        shares = [order[number :: len(self._workers)] for number in range(len(self._workers))]
        for share, (_, _, connection) in zip(shares, self._workers, strict=True):
            connection.send(([requests[position] for position in share], decoding))
        running: dict[object, tuple[Worker, list[int]]] = {
            worker[2]: (worker, share) for worker, share in zip(self._workers, shares, strict=True)
        }
        while running:
            for ready in wait([worker[2] for worker, _ in running.values()]):
                worker, share = running[ready]
                kind, content = _receive(worker)
                if kind == "done":
                    self._memory[worker[0]] = content
                    del running[ready]
                else:
                    yield [(share[number], completions) for number, completions in content]

    def describe(self) -> dict[str, Any]:
        """What the completions depend on, and on how many devices they were made."""
        return {**self._descriptions[0], "devices": [description["device"] for description in self._descriptions]}

    def memory(self) -> dict[str, Any]:
        """Most memory of each GPU so far, in bytes, and how often a batch was too large for one."""
        return {
            "peak_bytes": {device: found["peak_bytes"] for device, found in self._memory.items()},
            "out_of_memory": sum(found["out_of_memory"] for found in self._memory.values()),
        }

    def close(self) -> None:
        """End the processes."""
        for _, process, connection in self._workers:
            connection.close()
            process.terminate()
        for _, process, _ in self._workers:
            process.join()
        self._workers = []


def _receive(worker: Worker) -> tuple[str, Any]:
    """The next message of a process.

    Raises:
        QsqlError: If the message is an error, or the process has ended.
    """
    device, process, connection = worker
    try:
        kind, content = connection.recv()
    except (EOFError, ConnectionError):
        process.join()
        raise QsqlError(
            f"the process on {device} ended with status {process.exitcode}\n"
            "hint: see its messages above; what is finished is kept, and the same command goes on from there"
        ) from None
    if kind == "error":
        raise QsqlError(content)
    return kind, content


def _work(settings: EngineSettings, device: str, connection: Connection) -> None:
    """What a process does: load, then answer one list of requests after the other."""
    from qsql.engines.transformers import TransformersEngine

    # Ctrl-C and the end of a terminal reach the whole group; the parent decides what becomes of it.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        engine = TransformersEngine.load(settings, device)
        connection.send(("ready", engine.describe()))
        while True:
            try:
                requests, decoding = connection.recv()
            except EOFError:
                return
            for batch in engine.generate(requests, decoding):
                connection.send(("batch", batch))
            connection.send(("done", engine.memory()))
    except QsqlError as error:
        connection.send(("error", str(error)))
