"""Measure execution rewards beside the same rewards computed the usual way.

    make bench
    QSQL_SPIDER_DIR=... .venv/bin/python benches/rewards.py

64 golds with 16 predictions each, batch after batch, on the single databases, as in `speed.py`. The usual way is
Python's `sqlite3` in a pool of threads: connections are read-only and stay open, a progress handler ends what takes too
many steps, and results are equal if they have the same rows, in order where the gold has ORDER BY. All contenders take
turns in one run. Numbers go to `benches/rewards_spider.json` or `rewards_demo.json`.

first       a pass over all batches by a new evaluator, which knows no gold
known       the next pass: golds are known to qsql and to the cached usual way, connections are open
agreement   share of the completions on which both say the same. qsql follows the official rules, where DISTINCT does
            not count and columns may be moved; neither gives credit for results that are empty
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from setting import machine, setting, timed
from speed import CORES, REWARD_STEPS, reward_batches

from qsql.rewards import ExecutionReward

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS_PER_LOOK = 1000
Batch = tuple[list[str], list[str | None], list[str]]
Rows = list[tuple[Any, ...]]


class UsualReward:
    """Rewards as many training scripts compute them."""

    def __init__(self, databases: Path, threads: int, *, cached: bool) -> None:
        self.databases = databases
        self.pool = ThreadPoolExecutor(threads)
        self.golds: dict[tuple[str, str], Rows | None] | None = {} if cached else None
        self.local = threading.local()

    def connection(self, db_id: str) -> sqlite3.Connection:
        """The connection of this thread to a database."""
        connections = self.local.__dict__.setdefault("connections", {})
        if db_id not in connections:
            uri = f"{(self.databases / db_id / f'{db_id}.sqlite').resolve().as_uri()}?mode=ro&immutable=1"
            connection = sqlite3.connect(uri, uri=True)
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            connections[db_id] = connection
        return connections[db_id]

    def run(self, db_id: str, sql: str) -> Rows | None:
        """All rows, or None if the query fails or takes too many steps."""
        connection = self.connection(db_id)
        looks = iter(range(REWARD_STEPS // STEPS_PER_LOOK))
        connection.set_progress_handler(lambda: int(next(looks, None) is None), STEPS_PER_LOOK)
        try:
            return connection.execute(sql).fetchall()
        except (sqlite3.Error, sqlite3.Warning, ValueError):
            return None

    def gold(self, db_id: str, sql: str) -> Rows | None:
        """The rows of a gold."""
        if self.golds is None:
            return self.run(db_id, sql)
        if (db_id, sql) not in self.golds:
            self.golds[db_id, sql] = self.run(db_id, sql)
        return self.golds[db_id, sql]

    def reward(self, gold: str, prediction: str | None, db_id: str) -> float:
        """1.0 for the rows of the gold."""
        expected = self.gold(db_id, gold)
        found = self.run(db_id, prediction) if prediction else None
        if not expected or found is None:
            return 0.0
        same = expected == found if "order by" in gold.lower() else Counter(expected) == Counter(found)
        return float(same)

    def __call__(self, golds: list[str], predictions: list[str | None], db_ids: list[str]) -> list[float]:
        return list(self.pool.map(self.reward, golds, predictions, db_ids))


def ours(databases: Path, threads: int) -> Callable[..., list[float]]:
    """Rewards of qsql, called as by TRL."""
    reward = ExecutionReward(databases, threads=threads, max_steps=REWARD_STEPS)

    def call(golds: list[str], predictions: list[str | None], db_ids: list[str]) -> list[float]:
        completions = [prediction or "" for prediction in predictions]
        return [value or 0.0 for value in reward(None, completions, query=golds, db_id=db_ids)]

    return call


def measure(databases: Path, batches: list[Batch], repeat: int) -> dict[str, Any]:
    """Completions a second of each contender, and on how many the two ways agree."""
    contenders: dict[str, Callable[[int], Callable[..., list[float]]]] = {
        "qsql": lambda threads: ours(databases, threads),
        "usual, golds cached": lambda threads: UsualReward(databases, threads, cached=True),
        "usual": lambda threads: UsualReward(databases, threads, cached=False),
    }
    total = sum(len(golds) for golds, _, _ in batches)
    seconds: dict[tuple[str, int], dict[str, list[float]]] = {}
    rewards: dict[str, list[float]] = {}
    for _ in range(repeat):
        for threads in sorted({1, CORES}):
            for name, make in contenders.items():
                reward, found = make(threads), []
                passes = seconds.setdefault((name, threads), {"first": [], "known": []})
                for column in passes.values():
                    found.clear()
                    column.append(timed(lambda reward=reward, found=found: found.extend(map_batches(reward, batches))))
                if rewards.setdefault(name, found) != found:
                    raise SystemExit(f"{name}: rewards differ from one run to the next")
    rows = [
        {"name": name, "threads": threads, **{key: total / statistics.median(times) for key, times in passes.items()}}
        for (name, threads), passes in seconds.items()
    ]
    pairs = Counter(zip(rewards["qsql"], rewards["usual"], strict=True))
    return {
        "completions": total,
        "batches": len(batches),
        "max_steps": REWARD_STEPS,
        "rows": rows,
        "agreement": (pairs[1.0, 1.0] + pairs[0.0, 0.0]) / total,
        "right": {"both": pairs[1.0, 1.0], "qsql only": pairs[1.0, 0.0], "usual only": pairs[0.0, 1.0]},
    }


def map_batches(reward: Callable[..., list[float]], batches: list[Batch]) -> list[float]:
    """Rewards of all batches, one call for each."""
    return [value for batch in batches for value in reward(*batch)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the median counts")
    parser.add_argument("--out", type=Path, help="where the numbers go")
    arguments = parser.parse_args()
    with setting() as data:
        about = {"machine": machine() | {"sqlite of Python": sqlite3.sqlite_version}, "data": data.name}
        results = {**about, **measure(data.databases, reward_batches(data), arguments.repeat)}
    out = arguments.out or Path(__file__).parent / f"rewards_{data.name.split()[0].lower()}.json"
    out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for row in results["rows"]:
        print(f"{row['name']:20} {row['threads']:3} threads {row['first']:10,.0f} first {row['known']:10,.0f} known")
    print(f"agreement {100 * results['agreement']:.2f} %, right: {results['right']}")


if __name__ == "__main__":
    main()
