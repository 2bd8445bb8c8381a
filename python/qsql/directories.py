"""Where files lie that belong to the user and to no run: results of golds, downloads from the hub and their token."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

HUB = "https://huggingface.co"
NO_TOKEN = "HF_HUB_DISABLE_IMPLICIT_TOKEN"  # noqa: S105 - the name of a variable
"""The hub's own variable for sending no token unless it is given in a call."""


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


def hub_token(endpoint: str | None = None) -> Literal[False] | None:
    """What to give the hub's libraries as `token`: None for that of the user, False for none.

    Only the official hub gets it; a mirror does not, whether it was named as an option or by `HF_ENDPOINT`.
    """
    address, official = urlsplit(endpoint or os.environ.get("HF_ENDPOINT") or HUB), urlsplit(HUB)
    return None if (address.scheme, address.netloc.lower()) == (official.scheme, official.netloc) else False


def keep_token_from_mirrors() -> None:
    """Let the hub's libraries send no token by themselves in this process, where `HF_ENDPOINT` is a mirror.

    Those that use them do not hand `token` on in every call.
    """
    if hub_token() is not False:
        return
    os.environ[NO_TOKEN] = "1"
    # Read once, when it is imported.
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        setattr(constants, NO_TOKEN, True)
