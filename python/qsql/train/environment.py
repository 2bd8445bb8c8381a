"""What training needs besides data: installed packages, a model's files. Looks without importing torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from qsql._core import QsqlError
from qsql.directories import hub_directory
from qsql.extras import install_line, installed_version

PACKAGES = ("llamafactory", "torch", "transformers", "accelerate", "datasets", "peft", "trl", "matplotlib")
INSTALL = install_line("train")
TRANSFORMERS_TESTED = ((5, 0, 0), (5, 6, 0))
"""The first version of transformers whose trainer qsql knows, and the last one that LLaMA-Factory 0.9.5 allows."""


def installed_versions(*, deepspeed: bool = False) -> dict[str, str | None]:
    """Versions of the packages that training needs; None for what is not installed.

    Args:
        deepspeed: Whether the configuration divides the model by DeepSpeed, which then is needed too.
    """
    return {package: installed_version(package) for package in (*PACKAGES, *(["deepspeed"] if deepspeed else []))}


def require_signals(system: str) -> None:
    """See to it that the worker can be told to end, with all that it has started: by the signals of Unix.

    Args:
        system: `os.name`.

    Raises:
        QsqlError: If it is Windows.
    """
    if system == "nt":
        raise QsqlError(
            "training does not run on Windows itself\n"
            "hint: use WSL or Linux; everything else, `--dry-run` too, works here"
        )


def require_packages(versions: dict[str, str | None]) -> None:
    """See to it that LLaMA-Factory can be started.

    Raises:
        QsqlError: If a package is missing, or transformers is a version that does not work.
    """
    missing = [package for package, version in versions.items() if version is None]
    if missing == ["deepspeed"]:
        raise QsqlError(
            "the configuration divides the model by DeepSpeed, which is not installed\n"
            "hint: pip install deepspeed, or use configs/fsdp, which needs PyTorch alone"
        )
    if missing:
        raise QsqlError(f"training needs packages that are not installed: {', '.join(missing)}\nhint: {INSTALL}")
    version = versions["transformers"] or ""
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    first, last = TRANSFORMERS_TESTED
    if numbers < first:
        raise QsqlError(
            f"training needs transformers 5, and {version} is installed\nhint: pip install 'transformers>=5,<=5.6.0'"
        )
    if numbers > last and os.environ.get("DISABLE_VERSION_CHECK", "").lower() not in {"1", "true"}:
        raise QsqlError(
            f"LLaMA-Factory refuses transformers {version}\n"
            "hint: pip install 'transformers>=5,<=5.6.0', or set DISABLE_VERSION_CHECK=1 to try this one"
        )


def local_model(name: str) -> Path | None:
    """Find the folder of a model: a path, or a download in the Hugging Face cache; None if there is neither."""
    path = Path(name)
    if path.is_dir():
        return path
    snapshots = hub_directory() / f"models--{name.replace('/', '--')}" / "snapshots"
    folders = sorted(snapshots.glob("*/config.json"), key=lambda file: file.stat().st_mtime)
    return folders[-1].parent if folders else None
