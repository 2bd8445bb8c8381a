"""What the machine has: GPUs, free disk, installed packages. Looks without importing torch."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from qsql._core import QsqlError
from qsql.directories import hub_directory

PACKAGES = ("llamafactory", "torch", "transformers", "accelerate", "datasets", "peft", "trl", "matplotlib")
INSTALL = "pip install 'qsql-lab[train]' and pip install --no-deps llamafactory==0.9.5"
TRANSFORMERS_TESTED = ((4, 55, 0), (5, 6, 0))
"""The first and last version of transformers that LLaMA-Factory 0.9.5 allows."""


@dataclass(frozen=True)
class Gpu:
    """A GPU that the run would use."""

    index: int
    name: str
    memory: int
    """In bytes."""
    used: int
    """In bytes, by other processes."""


def visible_gpus() -> list[Gpu]:
    """List the NVIDIA GPUs that `CUDA_VISIBLE_DEVICES` leaves; none where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index,name,memory.total,memory.used,uuid", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    if done.returncode != 0:
        return []
    gpus: dict[str, Gpu] = {}
    by_uuid: dict[str, str] = {}
    for line in done.stdout.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 5 and fields[0].isdigit():
            index, name, total, used, uuid = fields
            gpus[index] = Gpu(int(index), name, _mebibytes(total), _mebibytes(used))
            by_uuid[uuid] = index
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return list(gpus.values())
    names = [by_uuid.get(name.strip(), name.strip()) for name in visible.split(",")]
    return [gpus[name] for name in names if name in gpus]


def _mebibytes(text: str) -> int:
    return int(text) << 20 if text.isdigit() else 0


def installed_versions() -> dict[str, str | None]:
    """Versions of the packages that training needs; None for what is not installed."""
    return {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def require_packages(versions: dict[str, str | None]) -> None:
    """See to it that LLaMA-Factory can be started.

    Raises:
        QsqlError: If a package is missing, or transformers is a version that LLaMA-Factory refuses.
    """
    missing = [package for package, version in versions.items() if version is None]
    if missing:
        raise QsqlError(f"training needs packages that are not installed: {', '.join(missing)}\nhint: {INSTALL}")
    version = versions["transformers"] or ""
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    first, last = TRANSFORMERS_TESTED
    if not first <= numbers <= last and os.environ.get("DISABLE_VERSION_CHECK", "").lower() not in {"1", "true"}:
        raise QsqlError(
            f"LLaMA-Factory refuses transformers {version}\n"
            "hint: pip install 'transformers>=4.55,<=5.6.0', or set DISABLE_VERSION_CHECK=1 to try this one"
        )


def free_disk(folder: Path) -> int:
    """Free bytes where `folder` is or would be."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def local_model(name: str) -> Path | None:
    """Find the folder of a model: a path, or a download in the Hugging Face cache; None if there is neither."""
    path = Path(name)
    if path.is_dir():
        return path
    snapshots = hub_directory() / f"models--{name.replace('/', '--')}" / "snapshots"
    folders = sorted(snapshots.glob("*/config.json"), key=lambda file: file.stat().st_mtime)
    return folders[-1].parent if folders else None
