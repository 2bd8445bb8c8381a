"""Scoring from asyncio: the event loop goes on, and a task that is cancelled stops the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsql._core import Scorer, Verdict


class _Stopped(Exception):  # noqa: N818 - nobody gets to see it
    """Ends a call whose task was cancelled."""


async def score_async(
    scorer: Scorer,
    golds: Sequence[str],
    predictions: Sequence[str | None],
    db_ids: Sequence[str],
    etype: Literal["all", "exec", "match"] = "all",
    *,
    progress: Callable[[int, int], object] | None = None,
) -> list[Verdict]:
    """Judge predictions as `Scorer.score` does, without blocking the event loop.

    If the task is cancelled, which is also what Ctrl-C comes to under `asyncio.run`, running queries are stopped before
    this returns.

    Args:
        scorer: What scores; several calls may share it.
        golds: The queries that are right.
        predictions: One for each gold; None where the model gave none.
        db_ids: The database of each gold.
        etype: What to judge by: "exec", "match" or both.
        progress: Called as by `Scorer.score`, in another thread than that of the loop.

    Returns:
        One verdict for each gold, in the same order.

    Raises:
        QsqlError: As `Scorer.score` does.
        asyncio.CancelledError: If the task is cancelled.

    Example:
        >>> import asyncio
        >>> scorer = qsql.Scorer("database")
        >>> asyncio.run(qsql.score_async(scorer, ["SELECT 1"], ["SELECT 2"], ["seed_bank"], "exec"))
        [Verdict(execution=False, exact=None, state='scored', ...)]
    """
    import asyncio  # noqa: PLC0415 - importing qsql stays quick
    from threading import Event  # noqa: PLC0415

    stopped = Event()

    def look(done: int, total: int) -> None:
        if stopped.is_set():
            raise _Stopped
        if progress is not None:
            progress(done, total)

    call = asyncio.ensure_future(asyncio.to_thread(scorer.score, golds, predictions, db_ids, etype, progress=look))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.wait([call])
        if not call.cancelled():
            call.exception()  # looked at, so that asyncio does not report it as lost
        raise
