"""What the machine has: GPUs, memory, free disk. Looks without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where Linux tells the memory of a container (cgroup v2)."""


@dataclass(frozen=True)
class Gpu:
    """A GPU that a run would use."""

    index: int
    name: str
    memory: int
    """In bytes."""
    used: int
    """In bytes, by all processes."""


@dataclass(frozen=True)
class Memory:
    """Memory of the machine or, where that is less, of the container."""

    total: int
    """In bytes."""
    available: int
    """In bytes, to new work without swapping."""


def visible_gpus() -> list[Gpu]:
    """List the NVIDIA GPUs that `CUDA_VISIBLE_DEVICES` leaves; none where there is no driver that works."""
    return ask_driver()[0]


def ask_driver() -> tuple[list[Gpu], str | None]:
    """List the visible NVIDIA GPUs by `nvidia-smi`, and tell why there are none if there are none."""
    if shutil.which("nvidia-smi") is None:
        return [], "there is no nvidia-smi"
    query = ["nvidia-smi", "--query-gpu=index,name,memory.total,memory.used,uuid", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"nvidia-smi does not answer: {error}"
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        return [], f"nvidia-smi fails: {lines[0] if lines else f'exit status {done.returncode}'}"
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
        return list(gpus.values()), None if gpus else "nvidia-smi lists none"
    names = [by_uuid.get(name.strip(), name.strip()) for name in visible.split(",")]
    chosen = [gpus[name] for name in names if name in gpus]
    return chosen, None if chosen else f"CUDA_VISIBLE_DEVICES is `{visible}`, of {len(gpus)} in the machine"


def _mebibytes(text: str) -> int:
    return int(text) << 20 if text.isdigit() else 0


def memory() -> Memory:
    """Measure memory now."""
    import psutil  # noqa: PLC0415 - it takes longer to import than to ask

    found = psutil.virtual_memory()
    limit, used = (_bytes_in(CONTROL_GROUP / name) for name in ("memory.max", "memory.current"))
    if limit is None or used is None or limit >= found.total:
        return Memory(found.total, found.available)
    return Memory(limit, min(found.available, max(0, limit - used)))


def _bytes_in(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None  # not Linux, or no container
    return int(text) if text.isdigit() else None


def free_disk(folder: Path) -> int:
    """Free bytes where `folder` is or would be."""
    return shutil.disk_usage(existing_part(folder)).free


def existing_part(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return place
