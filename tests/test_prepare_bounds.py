"""Small files that stand for gigabytes, or hold what is no text: an error that says so, before memory is gone."""

from __future__ import annotations

import bz2
import gzip
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qsql import QsqlError
from qsql.prepare import compression
from qsql.prepare.sources import SourceOptions, read_records, read_source

ROW = {"question": "How many?", "query": "SELECT count(*) FROM t", "schema": "CREATE TABLE t (a)"}
LINE = (json.dumps(ROW) + "\n").encode()
MEBIBYTE = 1 << 20
PEAK = """
import re, sys
from pathlib import Path
from qsql.prepare.sources import SourceOptions, read_source
try:
    read_source(sys.argv[1], SourceOptions())
except Exception as error:
    print(type(error).__name__, error)
print(int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10)
"""


@pytest.fixture
def bound(monkeypatch):
    """A bound of a mebibyte, so that small files are too large."""
    monkeypatch.setattr(compression, "LEAST_BOUND", MEBIBYTE)


def repeated(text, count):
    """A column in which one entry of a dictionary is there so many times."""
    return pa.array([text]).dictionary_encode().take(pa.nulls(count, pa.int32()).fill_null(0))


def table(**columns):
    length = max(map(len, columns.values()))
    return pa.table({name: [ROW[name]] * length for name in ROW} | columns)


PARQUET_BOMBS = {
    "an entry of a dictionary, often": lambda: table(question=repeated("x" * 100_000, 4800)),
    "in a column of numbers of rows": lambda: table(db_id=repeated("x", 60_000)),
    "a long text": lambda: table(schema=["x" * (2 * MEBIBYTE)]),
    "long texts that differ": lambda: table(query=[f"{'x' * 50_000} {number}" for number in range(200)]),
    "rows of nothing": lambda: pa.table({name: pa.nulls(3_000_000, pa.string()) for name in ROW}),
    "bytes": lambda: table(evidence=[bytes(2 * MEBIBYTE)]),
    "large strings": lambda: table(
        question=repeated("x" * 100_000, 4800).cast(pa.dictionary(pa.int32(), pa.large_string()))
    ),
}


@pytest.mark.parametrize("make", PARQUET_BOMBS.values(), ids=PARQUET_BOMBS)
@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"compression": "brotli"}], ids=str)
@pytest.mark.usefixtures("bound")
def test_parquet_that_stands_for_too_much(tmp_path, make, options):
    path = tmp_path / "bomb.parquet"
    pq.write_table(make(), path, **{"compression": "zstd", **options})
    assert path.stat().st_size < 50_000
    with pytest.raises(QsqlError, match=r"bomb\.parquet` has [\d,]+ bytes, and stands for more than [\d,]+\nhint: "):
        list(read_records(path))


TEXT_BOMBS = {
    "one long line": b'{"question": "' + b"x" * (2 * MEBIBYTE) + b'"}',
    "many lines": LINE * (2 * MEBIBYTE // len(LINE)),
    "zeros": bytes(2 * MEBIBYTE),
    "line breaks": b"\n" * (2 * MEBIBYTE),
}


def zstandard(data):
    with pa.BufferOutputStream() as buffer, pa.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(data)
        stream.close()
        return buffer.getvalue().to_pybytes()


COMPRESSORS = {".gz": gzip.compress, ".zst": zstandard, ".bz2": bz2.compress}


@pytest.mark.parametrize("content", TEXT_BOMBS.values(), ids=TEXT_BOMBS)
@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv"])
@pytest.mark.usefixtures("bound")
def test_compressed_text_that_stands_for_too_much(tmp_path, content, suffix, kind):
    path = tmp_path / f"bomb{kind}{suffix}"
    path.write_bytes(COMPRESSORS[suffix](content))
    with pytest.raises(QsqlError, match=r"has [\d,]+ bytes, and stands for more than 1,048,576\nhint: "):
        list(read_records(path))


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_text_is_read(tmp_path, suffix):
    path = tmp_path / f"rows.jsonl{suffix}"
    path.write_bytes(COMPRESSORS[suffix](LINE * 3))
    assert [record for _, record in read_records(path)] == [ROW] * 3
    assert len(read_source(str(path), SourceOptions()).rows) == 3
    path.write_bytes(COMPRESSORS[suffix](LINE * 3)[:-9])
    with pytest.raises(QsqlError, match=r"cannot read|is not JSON"):
        list(read_records(path))
    path.write_bytes(LINE)
    with pytest.raises(QsqlError, match="cannot read"):
        list(read_records(path))


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(),
        pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.large_string()),
    ],
    ids=str,
)  # fmt: skip
def test_texts_of_every_type_are_read(tmp_path, kind):
    path = tmp_path / "rows.parquet"
    texts = [ROW["question"], None, "naïve \N{SNOWMAN}", ""]
    column = pa.array(texts)
    column = column.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else column.cast(kind)
    pq.write_table(table(question=column, id=[1, None, 3, 4], other=[[1], [], None, [2, 3]]), path)
    records = [record for _, record in read_records(path)]
    assert [record["question"] for record in records] == texts
    assert [record["id"] for record in records] == [1, None, 3, 4]
    assert list(records[0]) == ["question", "query", "schema", "id", "other"]


def test_bytes_that_are_no_text_are_left_to_the_stage_for_broken_text(tmp_path):
    path = tmp_path / "rows.parquet"
    offsets = pa.py_buffer((0).to_bytes(4, "little") + (3).to_bytes(4, "little"))
    broken = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfea")])
    pq.write_table(table(question=broken), path)
    [(_, record)] = read_records(path)
    assert record["question"] == "\ufffd\ufffda"


def deep(levels):
    kind = pa.string()
    for _ in range(levels):
        kind = pa.list_(kind)
    return kind


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["a"]]), pa.array([{"a": 1}]), pa.array([[{"a": ["b"]}]]), pa.nulls(1, deep(90)),
        pa.nulls(1, deep(300)), pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([b"12"], pa.binary(2)),
    ],
    ids=lambda column: str(column.type)[:30],
)  # fmt: skip
def test_columns_that_hold_no_text_are_named(tmp_path, column):
    path = tmp_path / "rows.parquet"
    pq.write_table(table(question=column), path)
    with pytest.raises(QsqlError, match=r"rows\.parquet`(.|\n)*\nhint: "):
        list(read_records(path))


@pytest.mark.parametrize("name", ["question", "query", "schema", "db_id", "evidence", "id"])
@pytest.mark.parametrize("value", [["a"], {"a": "b"}, [], [[[[]]]]])
def test_values_that_are_no_text_are_named(tmp_path, name, value):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([ROW | {"db_id": "d", "evidence": "e", "id": "1"}, ROW | {name: value}]))
    with pytest.raises(QsqlError, match=rf"rows\.json entry 2: `{name}` is no text but a (list|dict)\nhint: "):
        read_source(str(path), SourceOptions())


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"none", b"PAR1\xff\xff\xff\x7fPAR1"]
)
def test_what_is_no_parquet_is_an_error(tmp_path, content):
    path = tmp_path / "rows.parquet"
    path.write_bytes(content)
    with pytest.raises(QsqlError, match=r"cannot read `.*rows\.parquet`(.|\n)*\nhint: it must be a parquet file"):
        list(read_records(path))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it")
def test_memory_is_not_taken(tmp_path):
    paths = [tmp_path / "bomb.parquet", tmp_path / "bomb.jsonl.gz"]
    pq.write_table(table(question=repeated("x" * MEBIBYTE, 4800)), paths[0], compression="zstd")
    assert paths[0].stat().st_size < 2000
    with gzip.open(paths[1], "wb", compresslevel=1) as file:
        for _ in range(300):
            file.write(bytes(MEBIBYTE))
    for path in paths:
        command = [sys.executable, "-c", PEAK, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
        assert "stands for more than" in done.stdout
        assert int(done.stdout.splitlines()[-1]) < 700, done.stdout


def test_the_command_ends_with_the_reason(run_qsql, tmp_path):
    pq.write_table(table(question=repeated("x" * MEBIBYTE, 4800)), tmp_path / "bomb.parquet", compression="zstd")
    done = run_qsql("data", "prepare", tmp_path / "bomb.parquet", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: `")
    assert "stands for more than" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_json_lines_may_be_called_json(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(LINE * 2)
    assert [position for position, record in read_records(path) if record == ROW] == [1, 2]
    path.write_bytes(b"{\n" + LINE)
    with pytest.raises(QsqlError, match="is not JSON"):
        list(read_records(path))
