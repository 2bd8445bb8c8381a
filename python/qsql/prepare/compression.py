"""Compressed text, decompressed up to a bound: a kilobyte may stand for gigabytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsql import files
from qsql._core import QsqlError

if TYPE_CHECKING:
    from pathlib import Path

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
"""Suffixes of compressed files, and the codec as pyarrow calls it."""
LEAST_BOUND = 256 << 20
"""Bytes that even the smallest file may stand for."""
_BLOCK = 1 << 20


def kind_of(path: Path) -> str:
    """The suffix that tells what a file holds, compressed or not: `.jsonl` of `train.jsonl.gz`."""
    return path.with_suffix("").suffix if path.suffix in COMPRESSIONS else path.suffix


def most_bytes(size: int) -> int:
    """How many bytes a file of `size` bytes may stand for: a hundred times as many, and `LEAST_BOUND` in any case."""
    return max(LEAST_BOUND, 100 * size)


def too_large(path: Path) -> QsqlError:
    """The error for a file that stands for more than it may."""
    size = path.stat().st_size
    return QsqlError(
        f"`{path}` has {size:,} bytes, and stands for more than {most_bytes(size):,}\n"
        "hint: it may be made to exhaust memory; if it is not, decompress it, or divide it"
    )


def read_bytes(path: Path) -> bytes:
    """Read a file, decompressed by its suffix.

    Raises:
        QsqlError: If it is no file, stands for more than it may, or an extra is missing.
        OSError: If it cannot be read, or is not compressed as its suffix says.
    """
    if path.suffix not in COMPRESSIONS:
        return files.read_bytes(path)
    files.require_regular(path)
    try:
        import pyarrow as pa  # noqa: PLC0415 - needs an extra
    except ImportError:
        raise QsqlError(f"`{path}` needs pyarrow\nhint: pip install 'qsql-lab[data]'") from None
    most, blocks, count = most_bytes(path.stat().st_size), [], 0
    try:
        with pa.CompressedInputStream(pa.OSFile(str(path)), COMPRESSIONS[path.suffix]) as stream:
            while block := stream.read(_BLOCK):
                count += len(block)
                if count > most:
                    raise too_large(path)
                blocks.append(block)
    except pa.ArrowException as error:
        raise OSError(str(error)) from None
    return b"".join(blocks)
