"""What works on this machine and what does not: versions, SQLite, hardware, caches, extras, and a verdict."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qsql._core import QsqlError, Scorer, __version__, sqlite_compile_options, sqlite_version
from qsql.directories import cache_directory, hub_directory
from qsql.extras import Extra, Torch, examine_extras
from qsql.machine import Gpu, Memory, ask_driver, existing_part, free_disk, memory

ON_GPU = ("train", "generate", "vllm")
"""Extras whose work takes a GPU to be quick."""


@dataclass(frozen=True)
class Cache:
    """A folder of the user's that is used where it can be."""

    holds: str
    path: Path
    exists: bool
    problem: str | None
    """Why nothing can be written there; the numbers are 0 then."""
    size: int
    """Bytes in its files."""
    free: int
    """Free bytes on its disk."""


@dataclass(frozen=True)
class Diagnosis:
    """Everything that is found; `as_json` has it as plain values."""

    cores: int
    threads: int
    """How many threads score by default."""
    memory: Memory
    scoring_problem: str | None
    """Why even a small pair cannot be scored; None if it can."""
    gpus: list[Gpu]
    gpu_problem: str | None
    """Why no GPU can be used, or less than all of one."""
    torch: Torch | None
    caches: list[Cache]
    extras: list[Extra]
    extras_problem: str | None
    """Why it is not known what the extras need."""
    versions: dict[str, str]
    sqlite_compile_options: list[str]

    @property
    def verdict(self) -> str:
        """One line on what will work."""
        if self.scoring_problem is not None:
            return f"scoring does not work: {self.scoring_problem}"
        parts = [f"works: {', '.join(['scoring', *self._extras('ready')])}"]
        parts += [f"{state}: {', '.join(names)}" for state in ("broken", "missing") if (names := self._extras(state))]
        if self.extras_problem is not None:
            parts.append("extras: not known")
        if full := [cache.holds for cache in self.caches if cache.problem]:
            parts.append(f"cannot be written: {', '.join(full)}")
        if not self.has_gpu and any(name in ON_GPU for name in self._extras("ready")):
            parts.append("without a GPU, training and generation are for small models")
        return "; ".join(parts)

    @property
    def has_gpu(self) -> bool:
        """Whether models can run on a GPU: by torch, if that is there, else by the driver."""
        return bool(self.torch.gpus or self.torch.mps) if self.torch is not None else bool(self.gpus)

    def _extras(self, state: str) -> list[str]:
        return [extra.name for extra in self.extras if extra.state == state]

    def as_json(self) -> dict[str, Any]:
        """Give it as plain values, sizes in bytes."""
        found = asdict(self)
        found["caches"] = [{**cache, "path": str(cache["path"])} for cache in found["caches"]]
        for extra, plain in zip(self.extras, found["extras"], strict=True):
            plain |= {"state": extra.state, "install": extra.install}
        return {"verdict": self.verdict, "has_gpu": self.has_gpu, **found}


def examine() -> Diagnosis:
    """Look at everything. It changes nothing, and takes as long as importing the extras that are there."""
    extras, torch, extras_problem = _extras()
    gpus, gpu_problem = ask_driver()
    threads, scoring_problem = _try_scoring()
    return Diagnosis(
        cores=os.cpu_count() or 1,
        threads=threads,
        memory=memory(),
        scoring_problem=scoring_problem,
        gpus=gpus,
        gpu_problem=_gpu_problem(gpus, gpu_problem, torch),
        torch=torch,
        caches=[
            _cache("results of golds", cache_directory()),
            _cache("models and data sets", hub_directory()),
        ],
        extras=extras,
        extras_problem=extras_problem,
        versions={
            "qsql": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "sqlite": sqlite_version(),
            "qsql_path": str(Path(__file__).parent),
            "python_path": sys.executable,
        },
        sqlite_compile_options=sqlite_compile_options(),
    )


def _extras() -> tuple[list[Extra], Torch | None, str | None]:
    try:
        return *examine_extras(), None
    except QsqlError as error:
        return [], None, str(error)


def _try_scoring() -> tuple[int, str | None]:
    """Score one pair on one database; returns how many threads a scorer takes, and what went wrong."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            database = Path(folder, "empty", "empty.sqlite")
            database.parent.mkdir()
            database.touch()
            scorer = Scorer(folder)
            (verdict,) = scorer.score(["SELECT 1"], ["SELECT 2 - 1"], ["empty"], "exec")
            if verdict.execution:
                return scorer.threads, None
            return scorer.threads, f"an equal pair is judged {verdict!r}"
    except (OSError, QsqlError) as error:
        return 0, str(error).partition("\nhint: ")[0]


def _gpu_problem(gpus: list[Gpu], of_driver: str | None, torch: Torch | None) -> str | None:
    if torch is None:
        return of_driver
    if torch.problem is not None:
        return f"torch cannot use it: {torch.problem}"
    if torch.gpus or torch.mps:
        return None
    if gpus and torch.built_for is None:
        return "torch is built without CUDA\nhint: install a torch that is built for it, see https://pytorch.org"
    if gpus:
        return f"torch is built for CUDA {torch.built_for} and sees none\nhint: the driver may be too old for that"
    return of_driver


def _cache(holds: str, path: Path) -> Cache:
    try:
        place = existing_part(path)
        with tempfile.TemporaryFile(dir=place):
            pass
        exists = path.is_dir()
        size = sum(map(_size, path.rglob("*"))) if exists else 0
        return Cache(holds, path, exists, None, size, free_disk(path))
    except OSError as error:
        return Cache(holds, path, exists=False, problem=error.strerror or str(error), size=0, free=0)


def _size(file: Path) -> int:
    try:
        found = file.lstat()
    except OSError:
        return 0  # it was deleted meanwhile
    return found.st_size if file.is_file() and not file.is_symlink() else 0
