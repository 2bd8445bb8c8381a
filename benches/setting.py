"""What the benchmarks measure on, and how."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from qsql import demo
from qsql._core import sqlite_version
from qsql.data import Example, read_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Setting:
    """A data set, unpacked."""

    name: str
    gold: Path
    tables: Path
    databases: Path
    """Each database alone."""
    suite: Path
    """Each database with its variants."""
    predictions: dict[str, Path]
    """Sets of predictions by name; the first are the golds."""
    samples: dict[str, Path]
    """Sets to draw samples of predictions from."""
    scratch: Path

    @property
    def examples(self) -> list[Example]:
        """The golds."""
        return read_examples(self.gold)


@contextmanager
def setting() -> Iterator[Setting]:
    """Spider's dev set if QSQL_SPIDER_DIR names it, else the demo."""
    with TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        folder = os.environ.get("QSQL_SPIDER_DIR")
        if folder:
            source = Path(folder)
            for name in ("databases", "suite"):
                with tarfile.open(source / f"{name}.tar.xz") as archive:
                    archive.extractall(scratch, filter="data")
            gold, tables = source / "dev_gold.sql", source / "tables.json"
            databases, suite = scratch / "databases", scratch / "suite"
            known = {name: source / "predictions" / f"{name}.sql" for name in ("dev_10", "c3", "dail_gpt4")}
            lines = len(read_examples(gold))
            files = sorted((source / "predictions").glob("*.sql"))
            samples = {file.stem: file for file in files if len(file.read_text("utf-8").splitlines()) == lines}
        else:
            gold, tables = demo.GOLD, demo.TABLES
            suite = demo.build(scratch / "suite")
            databases = first_variants(suite, scratch / "databases", 1)
            samples = known = dict(demo.PREDICTIONS)
        golds = scratch / "golds.sql"
        golds.write_text("".join(f"{example.query}\n" for example in read_examples(gold)), encoding="utf-8")
        predictions = {"golds": golds, **known}
        yield Setting("Spider dev" if folder else "demo", gold, tables, databases, suite, predictions, samples, scratch)


def first_variants(suite: Path, folder: Path, count: int) -> Path:
    """Make a folder of databases with `count` variants each, as links."""
    for database in sorted(suite.iterdir()):
        main = f"{database.name}.sqlite"
        files = sorted(database.glob("*.sqlite"), key=lambda file: (file.name != main, len(file.name), file.name))
        for file in files[:count]:
            link = folder / database.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())
    return folder


def machine() -> dict[str, Any]:
    """What the numbers hold for."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "sqlite": sqlite_version(),
    }


def median(repeat: int, work: Callable[[], float]) -> float:
    """Median of what several runs give."""
    return statistics.median(work() for _ in range(repeat))


def timed(work: Callable[[], object]) -> float:
    """Seconds of wall clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def process(command: list[str], **options: Any) -> tuple[float, float, str]:
    """Run a process; returns seconds of wall clock, peak memory in MB and its output."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as child:
        output = child.stdout.read() if child.stdout else ""
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if child.returncode != 0:
        sys.exit(f"{command[0]} failed with status {child.returncode}")
    return seconds, usage.ru_maxrss / 1024, output


SCORING = """
import json, resource, sys, time
from pathlib import Path
from qsql import Scorer
from qsql.data import read_examples, read_predictions
gold, predictions, databases, threads = sys.argv[1:]
examples = read_examples(Path(gold))
job = (
    [example.query for example in examples],
    read_predictions(Path(predictions), examples).predictions,
    [example.db_id for example in examples],
)
started = time.perf_counter()
scorer = Scorer(databases, threads=int(threads))
verdicts = scorer.score(*job, "exec")
seconds = time.perf_counter() - started
right = sum(verdict.execution is True for verdict in verdicts)
print(json.dumps({"seconds": seconds, "executions": scorer.executions, "right": right}))
"""


def scoring(gold: Path, predictions: Path, databases: Path, threads: int) -> dict[str, Any]:
    """Score once in a new process, nothing cached; seconds are those of the call alone, MB those of the process."""
    command = [sys.executable, "-c", SCORING, str(gold), str(predictions), str(databases), str(threads)]
    _, peak, output = process(command)
    return {**json.loads(output), "mb": peak}
