"""Data sets on the hub: fetched once into its cache, resumed where a download breaks off, checked against its hashes.

A mirror is not trusted. `huggingface_hub` lists what there is and transfers bytes; where they are written is decided
here, since it builds paths from what the server says (revision, ETag). Names are checked before anything is written,
files are kept under the hash of their content, and the names of the files alone decide what is read.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from io import BufferedRandom, FileIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from qsql._core import QsqlError
from qsql.directories import hub_token
from qsql.machine import free_disk
from qsql.paths import is_inside
from qsql.prepare.compression import kind_of
from qsql.prepare.sources import SUFFIXES, read_records
from qsql.results import sha256
from qsql.visible import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

OFFLINE = "HF_HUB_OFFLINE"
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Words in the path of a file that tell which split it belongs to, as `datasets` has them."""
_DESCRIPTIONS = ("dataset_infos.json", "dataset_dict.json", "state.json")
"""What `datasets` writes beside data."""
_NOUNS = {"dataset": "data set", "model": "model"}
_COMMIT = re.compile("[0-9a-f]{40}")
_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, as the hub lists it."""

    path: str
    size: int
    hash: str
    """SHA-256 of its content where the hub keeps it apart from Git, else the SHA-1 of the Git blob."""


@dataclass(frozen=True)
class Repository:
    """A repository at a commit, and where the cache keeps it."""

    kind: Literal["dataset", "model"]
    name: str
    endpoint: str | None
    commit: str
    files: list[HubFile]
    folder: Path
    """Of the cache: `blobs` and `snapshots` as `huggingface_hub` lays them out."""
    offline: bool = False
    """Whether the files are those of the cache."""

    def place(self, file: HubFile) -> Path:
        """Where the file lies when it is fetched: a link, by its own name, to its content."""
        return self.folder / "snapshots" / self.commit / file.path


def download(
    name: str,
    split: str,
    revision: str | None,
    endpoint: str | None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[list[tuple[int, Any]], dict[str, str]]:
    """Fetch one split of a data set and read it.

    Args:
        name: Such as `PipableAI/pip-txt-to-sql-spider-bird-dataset`.
        split: Which part of it, such as "train": told by the names of the files.
        revision: A branch, tag or commit; by default the main branch.
        endpoint: Address of the hub or of a mirror; by default `HF_ENDPOINT`, or the hub.
        progress: Called with the number of records when they are read.

    Returns:
        The records with their positions from 1, and the commit and the SHA-256 of each file that was read, by name.

    Raises:
        QsqlError: If an extra is missing, the hub cannot be reached, there is no such data set or split, or it holds
            what it must not.
    """
    repository = find_repository("dataset", name, revision, endpoint)
    splits = files_by_split(repository.files)
    if not splits:
        listing = listed(sorted(file.path for file in repository.files)) or "no files"
        raise QsqlError(
            f"the data set `{name}` has no data (it holds {listing})\n"
            f"hint: data are files that end in {', '.join(SUFFIXES)}; fetch others by hand and give the file"
        )
    if split not in splits:
        raise QsqlError(f"`{name}` has no split `{split}`\nhint: its splits are {listed(splits)} (`--split`)")
    paths = {file.path: fetch(repository, file) for file in splits[split]}
    records = [record for path in paths.values() for _, record in read_records(path)]
    if progress is not None:
        progress(len(records), len(records))
    hashes = {path: sha256(place) for path, place in paths.items()}
    return list(enumerate(records, 1)), {f"commit {repository.commit}": "", **hashes}


def fetch_tokenizer(name: str) -> Path:
    """Fetch the `tokenizer.json` of a model.

    Raises:
        QsqlError: If the hub cannot be reached, or the model has none.
    """
    repository = find_repository("model", name, None, None)
    file = next((file for file in repository.files if file.path == "tokenizer.json"), None)
    if file is None:
        raise QsqlError(f"the model `{name}` has no tokenizer.json\nhint: give a folder that holds one")
    return fetch(repository, file)


def files_by_split(files: Iterable[HubFile]) -> dict[str, list[HubFile]]:
    """Data files by split, in the order of their names; where no name tells one, all are for training.

    Of several kinds of files, those of the most common one are taken: the others hold the same once more, as a rule.
    """
    files = sorted((file for file in files if _is_data(file.path)), key=lambda file: file.path)
    kinds = Counter(kind_of(Path(file.path)) for file in files)
    kind = max(SUFFIXES, key=lambda kind: kinds[kind])
    found: dict[str, list[HubFile]] = {}
    for file in files:
        if kind_of(Path(file.path)) == kind:
            found.setdefault(_split_of(file.path) or "", []).append(file)
    others = found.pop("", [])
    return dict(sorted(found.items())) if found else {"train": others} if others else {}


def _is_data(path: str) -> bool:
    hidden = any(part.startswith((".", "_")) for part in path.split("/"))
    return kind_of(Path(path)) in SUFFIXES and not hidden and PurePosixPath(path).name not in _DESCRIPTIONS


def _split_of(path: str) -> str | None:
    """The split that the name of a file tells, or that of a folder."""
    for text in (PurePosixPath(path).name, path):
        words = set(re.split("[^a-z]+", text.lower()))
        for split, known in SPLIT_WORDS.items():
            if words & set(known):
                return split
    return None


def find_repository(
    kind: Literal["dataset", "model"], name: str, revision: str | None, endpoint: str | None
) -> Repository:
    """Ask the hub for a commit and its files, and see that none of them lies elsewhere.

    With `HF_HUB_OFFLINE`, it is what was fetched before.

    Raises:
        QsqlError: If an extra is missing, the hub cannot be reached, there is no such repository or revision, or what
            it says makes no sense.
    """
    try:
        from huggingface_hub import HfApi, constants, utils  # noqa: PLC0415 - needs an extra
    except ImportError:
        raise QsqlError(f"`{name}` on the hub needs huggingface-hub\nhint: pip install 'qsql-lab[data]'") from None
    endpoint = endpoint or os.environ.get("HF_ENDPOINT") or None
    folder = Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}"
    if os.environ.get(OFFLINE, "").upper() in {"1", "ON", "YES", "TRUE"}:
        return _fetched_before(kind, name, revision, endpoint, folder)
    where = endpoint or constants.ENDPOINT
    api = HfApi(endpoint=endpoint, token=hub_token(endpoint))
    try:
        commit = str(api.repo_info(name, repo_type=kind, revision=revision).sha)
        # Nothing else is a commit, and what is not asked for cannot be listed.
        is_commit = _COMMIT.fullmatch(commit) is not None
        listed = list(api.list_repo_tree(name, repo_type=kind, revision=commit, recursive=True)) if is_commit else []
    except utils.RepositoryNotFoundError:  # type: ignore[attr-defined]
        hint = "check the name, or log in if it is private"
        if hub_token(endpoint) is False:
            hint = "check the name; tokens are sent to huggingface.co only, so private ones are not read from elsewhere"
        raise QsqlError(f"no {_NOUNS[kind]} `{name}` at {where}\nhint: {hint}") from None
    except utils.RevisionNotFoundError:  # type: ignore[attr-defined]
        raise QsqlError(f"`{name}` has no revision `{revision}`\nhint: leave `--revision` out for the latest") from None
    except Exception as error:  # noqa: BLE001 - the library lets errors of several HTTP clients through
        raise unreachable(kind, name, where, error) from None
    if not is_commit:
        raise QsqlError(f"{where} says that the commit of `{name}` is `{commit}`\n{_DISTRUST}")
    files = [_listed(where, entry) for entry in listed if hasattr(entry, "blob_id")]
    repository = Repository(kind, name, endpoint, commit, files, folder)
    if revision is None or PurePosixPath(revision).name == revision:
        _write_reference(folder, revision or "main", commit)
    return repository


_DISTRUST = "hint: do not use this mirror; it may mean to write or read files that are none of its business"


def unreachable(kind: str, name: str, where: str, error: Exception) -> QsqlError:
    """The error for a hub that does not answer, or not as it should."""
    return QsqlError(
        f"cannot fetch the {_NOUNS[kind]} `{name}` from {where}: {error.__cause__ or error}\n"
        "hint: check the network, name a mirror (`--endpoint` or HF_ENDPOINT), or give a file fetched by hand; "
        f"{OFFLINE}=1 takes what was fetched before"
    )


def _listed(where: str, entry: Any) -> HubFile:
    path, size = str(entry.path), entry.size
    if not is_inside(path):
        raise QsqlError(f"{where} lists a file `{path}`, which lies outside of the repository\n{_DISTRUST}")
    lfs = entry.lfs
    hash_ = str(entry.blob_id if lfs is None else getattr(lfs, "sha256", None) or lfs["sha256"])
    if not _HASH.fullmatch(hash_) or len(hash_) != (40 if lfs is None else 64):
        raise QsqlError(f"{where} says that the hash of `{path}` is `{hash_}`\n{_DISTRUST}")
    if not isinstance(size, int) or size < 0:
        raise QsqlError(f"{where} says that the size of `{path}` is `{size}`\n{_DISTRUST}")
    return HubFile(path, size, hash_)


def fetch(repository: Repository, file: HubFile) -> Path:
    """Fetch a file into the cache, where it is not there, and see that its content has the hash that the hub lists.

    What has arrived before a connection broke is kept, and the next attempt goes on behind it.

    Raises:
        QsqlError: If it cannot be fetched or written, or is another file.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # noqa: PLC0415 - needs an extra

    blob = repository.folder / "blobs" / file.hash
    place = repository.place(file)
    if repository.offline:
        return place
    try:
        for folder in (blob.parent, place.parent):
            if not folder.resolve().is_relative_to(repository.folder.resolve()):
                raise QsqlError(f"`{folder}` leads out of the cache\nhint: delete `{repository.folder}`")
            folder.mkdir(parents=True, exist_ok=True)
        lock = repository.folder.parent / ".locks" / repository.folder.name / f"{file.hash}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if not (blob.is_file() and not blob.is_symlink() and content_hash(blob, file.hash) == file.hash):
                blob.unlink(missing_ok=True)
                _transfer(repository, file, blob)
        if not (place.exists() and place.samefile(blob)):
            place.unlink(missing_ok=True)
            _link(blob, place)
    except OSError as error:
        raise QsqlError(
            f"cannot write `{place}`: {error.strerror or error}\nhint: check the cache folder (HF_HOME), or set another"
        ) from None
    return place


def _transfer(repository: Repository, file: HubFile, blob: Path) -> None:
    from huggingface_hub import constants, hf_hub_url  # noqa: PLC0415 - needs an extra
    from huggingface_hub.file_download import http_get  # noqa: PLC0415
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # noqa: PLC0415

    endpoint, unfinished = repository.endpoint, blob.with_name(f"{file.hash}.unfinished")
    if file.size > free_disk(blob.parent):
        raise QsqlError(
            f"`{file.path}` has {file.size:,} bytes, and `{blob.parent}` less room\nhint: set another HF_HOME"
        )
    if unfinished.is_symlink():
        unfinished.unlink()
    url = hf_hub_url(
        repository.name, file.path, repo_type=repository.kind, revision=repository.commit, endpoint=endpoint
    )
    where = endpoint or constants.ENDPOINT
    with _Bounded(unfinished, file.size) as content:
        begin = content.seek(0, os.SEEK_END)
        if begin > file.size:
            begin = content.seek(0)
            content.truncate()
        try:
            if begin < file.size:
                headers = build_hf_headers(token=hub_token(endpoint))
                # Its bar would show what the server calls the file.
                name = PurePosixPath(file.path).name
                http_get(
                    url, content, resume_size=begin, headers=headers, expected_size=file.size, displayed_filename=name
                )
        except QsqlError:
            raise
        except Exception as error:  # noqa: BLE001 - the library lets errors of several HTTP clients through
            raise unreachable(repository.kind, repository.name, where, error) from None
    found = content_hash(unfinished, file.hash)
    if found != file.hash:
        unfinished.unlink()
        raise QsqlError(
            f"`{file.path}` of `{repository.name}` came from {where} with the hash {found[:16]}..., its listing has "
            f"{file.hash[:16]}...\nhint: try again; if that does not help, do not use this mirror"
        )
    unfinished.replace(blob)


class _Bounded(BufferedRandom):
    """A file to append to, up to so many bytes: a server may go on for ever."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(FileIO(path, "a+"))
        self._most = most

    def write(self, data: Any) -> int:
        """Append bytes.

        Raises:
            QsqlError: If they are more than there should be.
        """
        if self.tell() + len(data) > self._most:
            self.truncate(0)
            raise QsqlError(f"more than the {self._most:,} bytes came that its listing has\n{_DISTRUST}")
        return super().write(data)


def content_hash(path: Path, like: str) -> str:
    """Hash a file as `like` was made: SHA-256, or for 40 digits the SHA-1 of a Git blob."""
    digest = hashlib.sha256()
    if len(like) == 40:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _link(blob: Path, place: Path) -> None:
    try:
        place.symlink_to(os.path.relpath(blob, place.parent))
    except OSError:
        shutil.copyfile(blob, place)  # Windows, where links need a privilege


def _write_reference(folder: Path, revision: str, commit: str) -> None:
    """Note which commit a revision was, for when the hub is not there."""
    try:
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / revision).write_text(commit, encoding="ascii")
    except OSError as error:
        raise QsqlError(
            f"cannot write `{folder}`: {error.strerror}\nhint: check the cache folder (HF_HOME), or set another"
        ) from None


def _fetched_before(
    kind: Literal["dataset", "model"], name: str, revision: str | None, endpoint: str | None, folder: Path
) -> Repository:
    """What the cache has of a repository: files whose content has the hash that their links name."""
    commit = revision or "main"
    if not _COMMIT.fullmatch(commit):
        reference = folder / "refs" / commit
        commit = reference.read_text(encoding="ascii", errors="replace").strip() if reference.is_file() else ""
    snapshot = folder / "snapshots" / commit
    if not _COMMIT.fullmatch(commit) or not snapshot.is_dir():
        raise QsqlError(
            f"{OFFLINE} is set, and `{name}` was not fetched before\nhint: unset it, or give a file fetched by hand"
        )
    return Repository(kind, name, endpoint, commit, list(_cached(snapshot, folder)), folder, offline=True)


def _cached(snapshot: Path, folder: Path) -> Iterator[HubFile]:
    for place in sorted(snapshot.rglob("*")):
        blob = place.resolve()
        if place.is_dir():
            continue
        if not blob.is_relative_to(folder.resolve()) or not blob.is_file():
            raise QsqlError(f"`{place}` leads out of the cache\nhint: delete `{snapshot}`, and fetch it again")
        if _HASH.fullmatch(blob.name) and content_hash(blob, blob.name) != blob.name:
            raise QsqlError(f"`{blob}` is damaged\nhint: delete it, and fetch it again without {OFFLINE}")
        yield HubFile(place.relative_to(snapshot).as_posix(), blob.stat().st_size, blob.name)
