"""Parquet files, read up to a bound: a kilobyte may stand for gigabytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qsql._core import QsqlError
from qsql.files import require_regular
from qsql.prepare.compression import most_bytes, too_large

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

_BATCH = 1024
"""Rows that are decoded at a time."""
_RECORD = 200
"""Bytes that a record takes besides its texts."""


def read_parquet(path: Path, wanted: Collection[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the records of a parquet file with their positions from 1.

    Each has all columns, those that are not `wanted` with None. Text that is not UTF-8 has replacement characters.

    Raises:
        QsqlError: If it cannot be read, or stands for more than a file of its size may.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - needs an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise QsqlError(f"`{path}` needs pyarrow\nhint: pip install 'qsql-lab[data]'") from None
    require_regular(path)
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name in wanted]
            texts = [name for name in names if _is_text(path, name, file.schema_arrow.field(name).type)]
            _check_sizes(path, file, names)
        # Texts stay in dictionaries, so that one that is there a million times is decoded once.
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            yield from _records(path, file, names)
    except (pa.ArrowException, OSError, RecursionError, MemoryError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise QsqlError(f"cannot read `{path}`: {reason}\nhint: it must be a parquet file") from None


def _is_text(path: Path, name: str, kind: Any) -> bool:
    """Whether a column holds text, rather than numbers and the like.

    Raises:
        QsqlError: If it holds lists or records.
    """
    from pyarrow import types  # noqa: PLC0415

    kind = kind.value_type if types.is_dictionary(kind) else kind
    kinds = (types.is_string, types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary)
    if any(is_it(kind) for is_it in kinds):
        return True
    if types.is_primitive(kind) or types.is_null(kind):
        return False
    raise QsqlError(f"`{path}`: the column `{name}` is of type {kind!s:.80}\nhint: write it as one text")


def _check_sizes(path: Path, file: Any, names: Collection[str]) -> None:
    """See that what is to be decoded is small enough, by what the file says of itself."""
    metadata = file.metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    size = sum(column.total_uncompressed_size for column in columns if column.path_in_schema.split(".")[0] in names)
    if size + _RECORD * metadata.num_rows > most_bytes(path.stat().st_size):
        raise too_large(path)


def _records(path: Path, file: Any, names: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    others = dict.fromkeys(file.schema_arrow.names)
    most, size, number = most_bytes(path.stat().st_size), 0, 0
    for batch in file.iter_batches(_BATCH, columns=names):
        columns = []
        for name in names:
            values, bytes_ = _values(batch.column(name), most - size)
            size += bytes_
            if size > most:
                raise too_large(path)
            columns.append(values)
        size += _RECORD * batch.num_rows
        for place in range(batch.num_rows):
            number += 1
            yield number, {**others, **{name: values[place] for name, values in zip(names, columns, strict=True)}}


def _values(column: Any, most: int) -> tuple[list[Any], int]:
    """The values of a column, and how many bytes they stand for; none if those are more than `most`."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if not pa.types.is_dictionary(column.type):
        return (column.to_pylist(), column.nbytes) if column.nbytes <= most else ([], column.nbytes)
    used = pc.unique(column.indices).drop_null()
    entries = column.dictionary.take(used)
    if pa.types.is_primitive(entries.type):
        return column.to_pylist(), column.nbytes
    texts = [
        None if entry is None else entry.decode("utf-8", "replace")
        for entry in entries.cast("large_binary").to_pylist()
    ]
    text_of = dict(zip(used.to_pylist(), texts, strict=True))
    values = [text_of.get(place) for place in column.indices.to_pylist()]
    # One object for each entry: what counts is what a reader makes of them.
    return values, sum(len(value) for value in values if value is not None)
