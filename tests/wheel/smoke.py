"""Installs a wheel or an sdist into an empty virtual environment and tries it from outside of the source tree.

    python tests/wheel/smoke.py dist/*.whl                    # under the Python that runs this
    python tests/wheel/smoke.py dist/*.whl --others newest    # under the newest other Python that is found here
    python tests/wheel/smoke.py dist/*.whl --others all       # under one of each other version

Needs nothing but the standard library, and the package index for the dependencies.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

OLDEST = (3, 10)
VERSION = "import sys; print(*sys.version_info[:2])"
USE = """
import sys
import qsql
assert "numpy" not in sys.modules
scorer = qsql.Scorer(sys.argv[1], sys.argv[2])
golds, predictions = ["SELECT count(*) FROM species"] * 2, ["SELECT count(1) FROM species", "SELECT 0"]
rewards = scorer.execution(golds, predictions, ["seed_bank"] * 2)
assert rewards.tolist() == [True, False], rewards
assert qsql.exact_match("SELECT a FROM t", "select a from t", {"t": ["a"]}).exact
print(qsql.__file__, qsql.__version__)
"""


def pythons() -> dict[tuple[int, int], str]:
    """One interpreter of each version that is found, on PATH and where pyenv keeps them."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places = [path for minor in range(OLDEST[1], 30) if (path := shutil.which(f"python3.{minor}"))]
    places += [str(path) for path in sorted(root.glob("versions/3.*/bin/python"))]
    found: dict[tuple[int, int], str] = {}
    for place in places:
        # What lies there may be a stand-in for an interpreter that is not chosen.
        done = subprocess.run([place, "-c", VERSION], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            major, minor = map(int, done.stdout.split())
            if (major, minor) >= OLDEST:
                found.setdefault((major, minor), place)
    return found


def run(folder: Path, *command: object) -> str:
    """Run a command in a folder, without anything of the environment that could lead it to the source tree."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment |= {"QSQL_CACHE_DIR": str(folder / "cache"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, check=False)
    if done.returncode != 0:
        print((done.stdout + done.stderr).decode("utf-8", "replace"))
        sys.exit(f"failed with status {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout.decode("utf-8", "replace")


def smoke(archive: Path, interpreter: str | None) -> None:
    """Install and try."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        if interpreter is None:
            venv.create(folder / "environment", with_pip=True)
        else:
            run(folder, interpreter, "-m", "venv", folder / "environment")
        binaries = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
        python, qsql = binaries / "python", binaries / "qsql"
        run(folder, python, "-m", "pip", "install", "--quiet", archive.resolve())

        version = run(folder, qsql, "--version").split()[1]
        assert archive.name.startswith(f"qsql_lab-{version}"), version
        assert " 85.4 " in run(folder, qsql, "demo", "demo")
        demo = Path(run(folder, python, "-c", "from qsql import demo; print(demo.FOLDER)").strip())
        databases, tables = folder / "demo" / "databases", demo / "tables.json"
        files = ["--gold", demo / "gold.sql", "--pred", demo / "predictions" / "weak.sql"]
        files += ["--db", databases, "--table", tables]
        summary = json.loads(run(folder, qsql, "eval", *files, "--format", "json"))
        assert (summary["all"]["count"], summary["all"]["states"]["sql_error"]) == (48, 3), summary
        report = run(folder, python, "-m", "qsql.official", *files, "--etype", "all")
        assert re.search(r"^exact match ", report, re.MULTILINE), report
        place, imported = run(folder, python, "-c", USE, databases, tables).split()
        assert (Path(place).is_relative_to(folder), imported) == (True, version), place
        assert (Path(place).parent / "py.typed").is_file()
        found = json.loads(run(folder, qsql, "doctor", "--format", "json"))
        assert (found["scoring_problem"], found["extras_problem"]) == (None, None), found
        assert found["versions"]["qsql"] == version
        print(f"{archive.name} works under Python {found['versions']['python']}: {found['verdict']}")


def main() -> None:
    """Parse the arguments and try everything that they name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="+", type=Path)
    parser.add_argument("--others", choices=("newest", "all"), help="other versions of Python instead of this one")
    arguments = parser.parse_args()
    interpreters: list[str | None] = [None]
    if arguments.others is not None:
        others = {version: place for version, place in pythons().items() if version != sys.version_info[:2]}
        interpreters = [others[version] for version in sorted(others, reverse=True)]
        if arguments.others == "newest":
            interpreters = interpreters[:1]
        if not interpreters:
            print(f"skipped: no Python but {sys.version.split()[0]} is found on PATH or by pyenv")
    for archive in arguments.archives:
        for interpreter in interpreters:
            smoke(archive, interpreter)


if __name__ == "__main__":
    main()
