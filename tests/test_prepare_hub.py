"""Data sets on the hub, fetched from a server on loopback with its file layout."""

from __future__ import annotations

import hashlib
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import COMMIT, HubServer, blob_id
from huggingface_hub import constants

from qsql import QsqlError
from qsql.directories import hub_token
from qsql.prepare import Settings, prepare
from qsql.prepare import hub as hub_module
from qsql.prepare.hub import HubFile, download, files_by_split
from qsql.prepare.sources import SourceOptions, read_source
from qsql.prepare.tokens import TokenCounter

NAME = "someone/text-to-sql"
COUNT = 3000
CHUNK = 1 << 14


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nothing from an earlier test, or of the user, is in the cache; downloads are written in small pieces."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)


def parquet(columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression=None, use_dictionary=False)
    return buffer.getvalue()


def files(**columns):
    content = {
        "schema": [f"CREATE TABLE t{number % 50} (a INTEGER, b{number % 50} TEXT);" for number in range(COUNT)],
        "question": [f"How many rows have {number} as a?" for number in range(COUNT)],
        "query": [f"SELECT count(*) FROM t{number % 50} WHERE a = {number}" for number in range(COUNT)],
    }
    return {"README.md": b"# A data set\n", "data/train-00000-of-00001.parquet": parquet(content | columns)}


def test_a_data_set_is_fetched_and_prepared(tmp_path):
    with HubServer(NAME, files()) as hub:
        settings = Settings(sources=[NAME], endpoint=hub.address, validation=0.2)
        report = prepare(settings, tmp_path / "out")
    [source] = report["sources"]
    assert (source["name"], source["rows"]) == (NAME, COUNT)
    assert {f"commit {COMMIT}", "data/train-00000-of-00001.parquet"} <= set(source["files"])
    assert report["train"]["rows"] + report["validation"]["rows"] == COUNT
    train = json.loads((tmp_path / "out" / "train.json").read_text())
    assert train[0]["id"].startswith(f"{NAME}:")
    assert hub.address not in (tmp_path / "out" / "report.json").read_text()


def test_a_download_that_breaks_off_goes_on_where_it_stopped():
    content = files()
    with HubServer(NAME, content, break_after=5 * CHUNK, breaks=2) as hub:
        records, _ = download(NAME, "train", None, hub.address)
    assert len(records) == COUNT
    assert hub.breaks == 0
    ranges = [wanted for command, path, wanted in hub.requests if command == "GET" and path.endswith(".parquet")]
    starts = [int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0 for wanted in ranges]
    assert len(starts) == 3
    assert starts == sorted(set(starts))
    assert starts[1] > 0


def test_a_hub_that_always_breaks_off_is_an_error_and_the_next_run_goes_on(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    content = files()
    with HubServer(NAME, content, break_after=CHUNK + 100, breaks=1000) as hub:
        broken = hub.breaks
        hub.break_after = 0
        with pytest.raises(QsqlError, match=r"cannot fetch the data set(.|\n)*--endpoint"):
            download(NAME, "train", None, hub.address)
        assert hub.breaks < broken
        hub.breaks = 0
        assert len(download(NAME, "train", None, hub.address)[0]) == COUNT


def test_the_endpoint_comes_from_the_environment_too(monkeypatch):
    with HubServer(NAME, files()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        source = read_source(NAME, SourceOptions())
    assert len(source.rows) == COUNT
    assert (source.rows[7].position, source.rows[7].query) == (8, "SELECT count(*) FROM t7 WHERE a = 7")


def test_what_is_not_on_the_hub_is_an_error_that_says_so():
    with HubServer(NAME, files()) as hub:
        with pytest.raises(QsqlError, match=r"no data set `someone/else` at http://127.*\nhint: check the name"):
            download("someone/else", "train", None, hub.address)
        with pytest.raises(QsqlError, match=r"no split `test`\nhint: its splits are train"):
            download(NAME, "test", None, hub.address)


def test_other_columns_are_named():
    content = {"README.md": b"", "train.csv": b"text,label\nx,y\n"}
    with HubServer(NAME, content) as hub, pytest.raises(QsqlError, match=r"lacks question, query, schema.*text, label"):
        read_source(NAME, SourceOptions(endpoint=hub.address))


def test_a_data_set_without_data_is_an_error_that_lists_its_files():
    with HubServer(NAME, {"README.md": b"# empty\n"}) as hub, pytest.raises(QsqlError, match=r"it holds README\.md"):
        download(NAME, "train", None, hub.address)


def test_a_hub_that_cannot_be_reached_is_an_error():
    with HubServer(NAME, files()) as hub:
        address = hub.address
    with pytest.raises(
        QsqlError, match=r"cannot fetch the data set `someone/text-to-sql` from http://127(.|\n)*hint: "
    ):
        download(NAME, "train", None, address)


# What a hostile mirror may try

ROWS = b"question,query,schema\nHow many?,SELECT count(*) FROM t,CREATE TABLE t (a)\n"
OTHER = b"question,query,schema\nWho is in there?,SELECT a FROM secret,CREATE TABLE secret (a)\n"


@pytest.fixture
def outside(tmp_path):
    """A folder outside of the cache with files that are none of the data set's business, which nobody changes."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("train.csv", "victim"):
        (folder / name).write_bytes(OTHER)
    yield folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"train.csv": OTHER, "victim": OTHER}


def read(hub, **options):
    return read_source(NAME, SourceOptions(endpoint=hub.address, **options))


DATA_FILES = [
    "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {path}",
    "configs:\n- config_name: default\n  data_files: {path}",
    "configs:\n- config_name: default\n  data_dir: {folder}",
    "configs:\n- config_name: a\n  default: true\n  data_files:\n    train: [{path}, train.csv]",
    "data_files: {path}",
    "dataset_info:\n  splits:\n  - name: train\n    num_examples: 77",
]
PATHS = ["{outside}/train.csv", "file://{outside}/train.csv", "../../../../../outside/train.csv", "{hub}/elsewhere.csv"]


@pytest.mark.parametrize("text", DATA_FILES)
@pytest.mark.parametrize("path", PATHS)
def test_no_text_decides_what_is_read(outside, text, path):
    with HubServer(NAME, {"train.csv": ROWS, "elsewhere.csv": OTHER}) as hub:
        where = path.format(outside=outside, hub=hub.address)
        card = text.format(path=where, folder=where.rpartition("/")[0])
        cards = {name: f"---\n{card}\n---\n".encode() for name in ("README.md", "data/README.md", "dataset_card.md")}
        hub.files |= cards | {".huggingface.yaml": card.encode(), "train.yaml": card.encode()}
        source = read(hub)
    assert [row.query for row in source.rows] == ["SELECT count(*) FROM t"]
    assert source.inputs == {f"commit {COMMIT}": "", "train.csv": hashlib.sha256(ROWS).hexdigest()}
    asked = {path for command, path, _ in hub.requests if "/resolve/" in path}
    assert {path.rpartition("/")[2] for path in asked} == {"train.csv"}


def test_the_report_has_the_files_that_were_read_and_no_others():
    names = [
        "data/train-0.csv",
        "data/train-1.csv",
        "data/test-0.csv",
        "README.md",
        "notes.txt",
        "x.py",
        "validation.csv",
    ]
    with HubServer(NAME, dict.fromkeys(names, ROWS), lfs={"data/train-1.csv"}) as hub:
        source = read(hub)
        digest = hashlib.sha256(ROWS).hexdigest()
        assert source.inputs == {f"commit {COMMIT}": "", "data/train-0.csv": digest, "data/train-1.csv": digest}
        assert read(hub, split="validation").inputs.keys() == {f"commit {COMMIT}", "validation.csv"}
    assert not any(path.endswith((".py", ".md", ".txt")) for _, path, _ in hub.requests if "/resolve/" in path)


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["a.csv", "b.csv"], {"train": ["a.csv", "b.csv"]}),
        (["train.csv", "dev.csv"], {"train": ["train.csv"], "validation": ["dev.csv"]}),
        (
            ["spider/train_spider.json", "spider/eval.json"],
            {"train": ["spider/train_spider.json"], "test": ["spider/eval.json"]},
        ),
        (["train/a.csv", "test/a.csv", "b.csv"], {"train": ["train/a.csv"], "test": ["test/a.csv"]}),
        (["train_data/dev.csv"], {"validation": ["train_data/dev.csv"]}),
        (["contest.csv", "trains.csv"], {"train": ["contest.csv", "trains.csv"]}),
        (["train.csv", "train-0.parquet", "train-1.parquet"], {"train": ["train-0.parquet", "train-1.parquet"]}),
        (["train.jsonl.gz", "test.jsonl.zst"], {"train": ["train.jsonl.gz"], "test": ["test.jsonl.zst"]}),
        ([".hidden/train.csv", "_x.csv", "train.csv", "dataset_infos.json"], {"train": ["train.csv"]}),
        (["README.md", "train.py", "train.arrow", "train.txt"], {}),
    ],
)
def test_splits_are_told_by_names(files, splits):
    found = files_by_split([HubFile(name, 0, "") for name in files])
    assert {name: [file.path for file in own] for name, own in found.items()} == splits


@pytest.mark.parametrize(
    "etag",
    [
        "../../../../outside/victim",
        "/victim",
        "a/../../../../../outside/victim",
        "..\\..\\victim",
        "",
        "x" * 5000,
        "%2e%2e%2fvictim",
    ],
)
@pytest.mark.parametrize("lfs", [(), ("train.csv",)])
@pytest.mark.usefixtures("outside")
def test_an_etag_names_no_file(tmp_path, etag, lfs):
    headers = {
        name: {"ETag": f'"{etag}"', "X-Linked-ETag": f'"{etag}"', "X-Repo-Commit": etag or "x"}
        for name in ("train.csv",)
    }
    with HubServer(NAME, {"train.csv": ROWS}, headers=headers, lfs=lfs) as hub:
        assert len(read(hub).rows) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"hub", "outside"}
    digest = hashlib.sha256(ROWS).hexdigest() if lfs else blob_id(ROWS)
    [folder] = (tmp_path / "hub").glob("datasets--*")
    assert {path.name for path in (folder / "blobs").iterdir()} == {digest}


OUTSIDE_NAMES = [
    "../train.csv", "../../../../outside/train.csv", "/train.csv", "data/../../train.csv", "data//train.csv",
    "./train.csv", "..\\train.csv", "data\\..\\..\\train.csv", "C:train.csv", "C:\\train.csv", "C:/train.csv",
    "\\\\host\\train.csv", "train.csv/", "data/./train.csv", "..", "", "tr\0ain.csv", "tr\x1b[2Jain.csv",
    "\u202etrain.csv", ".. /train.csv", ".../train.csv",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE_NAMES, ids=ascii)
@pytest.mark.usefixtures("outside")
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    entry = {"type": "file", "path": name, "size": len(OTHER), "oid": blob_id(OTHER)}
    with HubServer(NAME, {"train.csv": ROWS, name: OTHER}, tree=[entry]) as hub:
        with pytest.raises(QsqlError, match=r"lies outside of the repository\nhint: do not use this mirror"):
            read(hub)
        assert not [path for _, path, _ in hub.requests if "/resolve/" in path]
    assert {path.name for path in tmp_path.iterdir()} <= {"hub", "outside"}


@pytest.mark.parametrize(
    "commit", ["../../../outside", "/x", "main", COMMIT.upper(), COMMIT[:-1], f"{COMMIT}/..", "", "x\0y", None]
)
@pytest.mark.usefixtures("outside")
def test_what_is_no_commit_is_refused(tmp_path, commit):
    with (
        HubServer(NAME, {"train.csv": ROWS}, commit=commit) as hub,
        pytest.raises(QsqlError, match="says that the commit of"),
    ):
        read(hub)
    assert {path.name for path in tmp_path.iterdir()} <= {"hub", "outside"}
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize(
    "entry",
    [
        {"oid": "../../../../outside/victim"},
        {"oid": blob_id(ROWS).upper()},
        {"oid": hashlib.sha256(ROWS).hexdigest()},
        {"oid": ""},
        {"oid": None},
        {"size": -1},
        {"size": "8"},
        {"size": None},
        {"lfs": {"oid": "../../../../outside/victim", "size": len(ROWS), "pointerSize": 1}},
        {"lfs": {"oid": blob_id(ROWS), "size": len(ROWS), "pointerSize": 1}},
        {"size": 1 << 60},
    ],
)
@pytest.mark.usefixtures("outside")
def test_a_listing_that_makes_no_sense_is_refused(tmp_path, entry):
    tree = [{"type": "file", "path": "train.csv", "size": len(ROWS), "oid": blob_id(ROWS), **entry}]
    with (
        HubServer(NAME, {"train.csv": ROWS}, tree=tree) as hub,
        pytest.raises(QsqlError, match=r"`train.csv`(.|\n)*hint: "),
    ):
        read(hub)
    assert {path.name for path in tmp_path.iterdir()} <= {"hub", "outside"}


@pytest.mark.parametrize("lfs", [(), ("train.csv",)])
@pytest.mark.parametrize("content", [OTHER, OTHER[: len(ROWS)].ljust(len(ROWS)), ROWS[:-1], ROWS + b"\n", b""])
def test_content_that_is_not_what_is_listed_is_refused(monkeypatch, lfs, content):
    monkeypatch.setattr("time.sleep", lambda _: None)
    with HubServer(NAME, {"train.csv": ROWS}, served={"train.csv": content}, lfs=lfs) as hub:
        with pytest.raises(QsqlError):
            read(hub)
        hub.served = {}
        assert [row.query for row in read(hub).rows] == ["SELECT count(*) FROM t"]


def test_what_the_cache_holds_is_checked_too(tmp_path):
    with HubServer(NAME, {"train.csv": ROWS}) as hub:
        read(hub)
        [blob] = tmp_path.glob("hub/*/blobs/" + blob_id(ROWS))
        blob.write_bytes(OTHER)
        assert [row.query for row in read(hub).rows] == ["SELECT count(*) FROM t"]


def test_a_file_that_never_ends_is_cut_off(tmp_path):
    with HubServer(NAME, {"train.csv": ROWS}, endless={"train.csv"}) as hub, pytest.raises(QsqlError):
        read(hub)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 1 << 20


@pytest.mark.parametrize("place", ["blobs", "snapshots"])
def test_a_link_in_the_cache_is_not_followed_out_of_it(outside, tmp_path, place):
    folder = tmp_path / "hub" / f"datasets--{NAME.replace('/', '--')}"
    folder.mkdir(parents=True)
    (folder / place).symlink_to(outside)
    with HubServer(NAME, {"train.csv": ROWS}) as hub, pytest.raises(QsqlError, match="leads out of the cache"):
        read(hub)
    if place == "snapshots":
        assert not (outside / COMMIT).exists()


# Who is told the token


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return "hf_secret"


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_mirror_is_not_told_the_token(token, monkeypatch, way):
    with HubServer(NAME, {"train.csv": ROWS}, lfs={"train.csv"}) as hub:
        if way == "environment":
            monkeypatch.setenv("HF_ENDPOINT", hub.address)
        source = read_source(NAME, SourceOptions(endpoint=hub.address if way == "option" else None))
    assert len(source.rows) == 1
    assert len(hub.requests) >= 3
    assert not any(token in text for text in hub.tokens)
    assert hub.tokens == []


@pytest.mark.usefixtures("token")
def test_a_mirror_that_wants_a_token_is_told_none():
    with (
        HubServer("someone/else", {}) as hub,
        pytest.raises(QsqlError, match=r"tokens are sent to huggingface\.co only"),
    ):
        read_source(NAME, SourceOptions(endpoint=hub.address))
    assert hub.tokens == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://huggingface.co", "https://huggingface.co.evil.example", "https://evil.example/huggingface.co",
        "https://huggingface.co@evil.example", "https://evil.example#huggingface.co", "https://hf.co", "https://huggingface.co:8443",
        "https://cdn-lfs.huggingface.co", "https://xhuggingface.co", "//huggingface.co",
    ],
)  # fmt: skip
def test_only_the_official_hub_is_told_the_token(monkeypatch, endpoint):
    assert hub_token(endpoint) is False
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert hub_token(None) is False


def test_the_official_hub_is_told_the_token(monkeypatch):
    assert hub_token(None) is None
    assert hub_token("https://huggingface.co/") is None
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert hub_token("https://HuggingFace.co") is None


def test_a_redirect_is_not_told_the_token(token, monkeypatch):
    """Even if a server counts as the official one: the token does not go along to another."""
    monkeypatch.setattr(hub_module, "hub_token", lambda _: None)
    with HubServer(NAME, {"train.csv": ROWS}) as other, HubServer(NAME, {"train.csv": ROWS}) as hub:
        where = other.address.replace("127.0.0.1", "localhost")
        hub.redirects = {"train.csv": f"{where}/datasets/{NAME}/resolve/{COMMIT}/train.csv"}
        assert len(read(hub).rows) == 1
    assert any(token in text for text in hub.tokens)
    assert other.requests
    assert other.tokens == []


def test_a_redirect_to_other_content_is_refused(outside):
    with HubServer(NAME, {"train.csv": OTHER}) as other, HubServer(NAME, {"train.csv": ROWS}) as hub:
        for where in (f"{other.address}/datasets/{NAME}/resolve/{COMMIT}/train.csv", f"file://{outside}/train.csv"):
            hub.redirects = {"train.csv": where}
            with pytest.raises(QsqlError):
                read(hub)


# Tokenizers, and without a network


@pytest.mark.usefixtures("token")
def test_a_tokenizer_is_fetched_by_the_same_rules(monkeypatch, tmp_path):
    content = json.dumps(
        {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}
    ).encode()
    headers = {"tokenizer.json": {"ETag": '"../../../victim"'}}
    with HubServer("some/model", {"tokenizer.json": content}, kind="model", headers=headers) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        assert TokenCounter("some/model", 0).count([("a", "a")]) == [2]
        hub.served = {"tokenizer.json": content + b" "}
        hub.files = {"tokenizer.json": content.replace(b"a", b"b")}
        with pytest.raises(QsqlError):
            TokenCounter("some/model", 0)
        hub.files = {"config.json": b"{}"}
        with pytest.raises(QsqlError, match=r"has no tokenizer\.json"):
            TokenCounter("some/model", 0)
    assert hub.tokens == []
    assert {path.name for path in tmp_path.iterdir()} == {"hub"}


def test_without_a_network_it_is_what_was_fetched_before(monkeypatch, tmp_path):
    with HubServer(NAME, {"train.csv": ROWS}) as hub:
        first = read(hub)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = read_source(NAME, SourceOptions())
    assert (again.rows, again.inputs) == (first.rows, first.inputs)
    assert read_source(NAME, SourceOptions(revision=COMMIT)).rows == first.rows
    for revision in ("other", "../../x", "f" * 40):
        with pytest.raises(QsqlError, match=r"HF_HUB_OFFLINE is set, and .* was not fetched before"):
            read_source(NAME, SourceOptions(revision=revision))
    [blob] = tmp_path.glob("hub/*/blobs/" + blob_id(ROWS))
    blob.write_bytes(OTHER)
    with pytest.raises(QsqlError, match="is damaged"):
        read_source(NAME, SourceOptions())
    [place] = tmp_path.glob("hub/*/snapshots/*/train.csv")
    place.unlink()
    (tmp_path / "train.csv").write_bytes(ROWS)
    place.symlink_to(tmp_path / "train.csv")
    with pytest.raises(QsqlError, match="leads out of the cache"):
        read_source(NAME, SourceOptions())
