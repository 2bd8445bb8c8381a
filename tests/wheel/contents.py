"""Looks into wheels and sdists: everything that is needed is there, nothing that is not, and they stay small.

Run by `make wheel` with the files as arguments.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

MEBIBYTE = 1 << 20
IN_BOTH = (
    r"qsql/__init__\.py",
    r"qsql/_core\.pyi",
    r"qsql/py\.typed",
    r"qsql/demo/gold\.sql",
    r"qsql/demo/tables\.json",
    r"qsql/demo/databases/\w+/\w+\.sql",
    r"qsql/report/templates/page\.html\.jinja",
    r"qsql/train/arguments\.json",
)
NEEDED = {
    ".whl": (*IN_BOTH, r"qsql/_core(\.abi3\.so|\.pyd)", r".*\.dist-info/licenses/LICENSE"),
    ".gz": (
        *(rf"python/{name}" for name in IN_BOTH),
        *(r"Cargo\.toml", r"Cargo\.lock", r"\.cargo/config\.toml", r"rust/lib\.rs", r"LICENSE", r"README\.md"),
    ),
}
# In a wheel the package and its metadata, in an sdist what builds it.
ALLOWED = {
    ".whl": r"(qsql/|qsql_lab-[^/]+\.dist-info/).*",
    ".gz": r"(python/qsql|rust)/.*|(Cargo|pyproject|\.cargo/config)\.toml|Cargo\.lock|LICENSE|README\.md|PKG-INFO",
}
FORBIDDEN = r".*(__pycache__|\.pyc$|\.so\.|\.sqlite$|\.env|/\.git|\.DS_Store|\.parquet$|\.safetensors$).*"
LARGEST = {".whl": 6 * MEBIBYTE, ".gz": 2 * MEBIBYTE}


def members(path: Path) -> list[str]:
    """Names of the files inside, for an sdist without the folder that holds them all."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    with tarfile.open(path) as archive:
        return [member.name.partition("/")[2] for member in archive if member.isfile()]


def problems(path: Path) -> list[str]:
    """Everything that is wrong with a file."""
    kind, names = path.suffix, members(path)
    found = [f"lacks {pattern}" for pattern in NEEDED[kind] if not any(re.fullmatch(pattern, name) for name in names)]
    found += [f"holds {name}" for name in names if not re.fullmatch(ALLOWED[kind], name)]
    found += [f"holds {name}" for name in names if re.fullmatch(FORBIDDEN, name)]
    size = path.stat().st_size
    if size > LARGEST[kind]:
        found.append(f"has {size / MEBIBYTE:.1f} MiB, more than {LARGEST[kind] / MEBIBYTE:.0f}")
    print(f"{path.name}: {len(names)} files, {size / MEBIBYTE:.2f} MiB")
    return [f"{path.name} {problem}" for problem in found]


if __name__ == "__main__":
    wrong = [problem for argument in sys.argv[1:] for problem in problems(Path(argument))]
    sys.exit("\n".join(wrong) or (0 if sys.argv[1:] else "no files are given"))
