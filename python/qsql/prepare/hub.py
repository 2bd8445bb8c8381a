"""Data sets on the hub: fetched once into its cache, resumed where a download breaks off, read by `datasets`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.results import sha256

if TYPE_CHECKING:
    from collections.abc import Callable

DATA_FILES = ("*.parquet", "*.json", "*.jsonl", "*.csv", "*.md", "*.gz", "*.zst", "*.yaml")


def download(
    name: str,
    split: str,
    revision: str | None,
    endpoint: str | None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Fetch a data set and read one split of it.

    Args:
        name: Such as `PipableAI/pip-txt-to-sql-spider-bird-dataset`.
        split: Which part of it, such as "train".
        revision: A branch, tag or commit; by default the main branch.
        endpoint: Address of the hub or of a mirror; by default `HF_ENDPOINT`, or the hub.
        progress: Called with the number of records when they are read.

    Returns:
        The records, and the commit and the SHA-256 of each file by name.

    Raises:
        QsqlError: If an extra is missing, the hub cannot be reached, or there is no such data set or split.
    """
    try:
        import datasets  # noqa: PLC0415 - needs an extra
        import huggingface_hub  # noqa: PLC0415
    except ImportError:
        raise QsqlError(f"`{name}` on the hub needs datasets\nhint: pip install 'qsql-lab[data]'") from None
    folder, commit = _snapshot(huggingface_hub, name, revision, endpoint)
    try:
        loaded = _load(datasets, folder)
    except Exception as error:  # noqa: BLE001 - the readers of many formats raise whatever they like
        files = ", ".join(sorted(path.name for path in folder.rglob("*") if path.is_file())) or "no files"
        raise QsqlError(
            f"cannot read the data set `{name}` (it holds {files}): {error}\nhint: fetch it by hand and give the file"
        ) from None
    if split not in loaded:
        raise QsqlError(
            f"`{name}` has no split `{split}`\nhint: its splits are {', '.join(map(str, loaded))} (`--split`)"
        )
    records = loaded[split]
    if progress is not None:
        progress(len(records), len(records))
    hashes = {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    return records, {f"commit {commit}": "", **hashes}


def _load(datasets: Any, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Read all splits into memory; what `datasets` would keep on disk for that is not worth keeping."""
    bars, verbosity = datasets.utils.logging, datasets.logging.get_verbosity()
    datasets.logging.set_verbosity_error()
    bars.disable_progress_bar()
    try:
        with tempfile.TemporaryDirectory() as cache:
            loaded = datasets.load_dataset(str(folder), cache_dir=cache)
            return {name: [dict(record) for record in table] for name, table in loaded.items()}
    finally:
        datasets.logging.set_verbosity(verbosity)
        bars.enable_progress_bar()


def _snapshot(huggingface_hub: Any, name: str, revision: str | None, endpoint: str | None) -> tuple[Path, str]:
    from huggingface_hub import constants, errors  # noqa: PLC0415

    endpoint = endpoint or os.environ.get("HF_ENDPOINT") or None
    where = endpoint or constants.ENDPOINT
    try:
        # What has arrived before a connection broke is kept, and the next attempt goes on behind it.
        folder = huggingface_hub.snapshot_download(
            name, repo_type="dataset", revision=revision, endpoint=endpoint, allow_patterns=list(DATA_FILES)
        )
    except errors.RepositoryNotFoundError:
        raise QsqlError(f"no data set `{name}` at {where}\nhint: check the name, or log in if it is private") from None
    except errors.RevisionNotFoundError:
        raise QsqlError(f"`{name}` has no revision `{revision}`\nhint: leave `--revision` out for the latest") from None
    except Exception as error:  # noqa: BLE001 - the library lets errors of several HTTP clients through
        raise QsqlError(
            f"cannot fetch the data set `{name}` from {where}: {error.__cause__ or error}\n"
            "hint: check the network, name a mirror (`--endpoint` or HF_ENDPOINT), or give a file fetched by hand"
        ) from None
    return Path(folder), Path(folder).name
