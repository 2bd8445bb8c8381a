"""Where files lie that belong to the user and to no run: results of golds, and downloads from the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """Folder that keeps results of golds: `QSQL_CACHE_DIR`, or `qsql` in the user's cache directory."""
    if directory := os.environ.get("QSQL_CACHE_DIR"):
        return Path(directory)
    from platformdirs import user_cache_path  # noqa: PLC0415 - it takes longer to import than to ask

    return user_cache_path("qsql", appauthor=False)


def hub_directory() -> Path:
    """Folder of models and data sets from the Hugging Face hub, by its own variables.

    Source: https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
