"""Data sets on the hub, fetched from a server on loopback with its file layout."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import COMMIT, HubServer
from huggingface_hub import constants

from qsql import QsqlError
from qsql.prepare import Settings, prepare
from qsql.prepare.hub import download
from qsql.prepare.sources import SourceOptions, read_source

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
