"""A small data set of our own: four databases with three variants each, 48 questions, two sets of predictions.

The databases are SQL text here; `build` makes files of them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

FOLDER = Path(__file__).parent
GOLD, TABLES = FOLDER / "gold.sql", FOLDER / "tables.json"
PREDICTIONS = {name: FOLDER / "predictions" / f"{name}.sql" for name in ("strong", "weak")}


def build(directory: Path) -> Path:
    """Write the databases to `directory`, where they are not there yet, and return it.

    Args:
        directory: Gets `<db_id>/<db_id>.sqlite` and the variants beside it.

    Raises:
        OSError: If the folder cannot be written.
    """
    for script in sorted(FOLDER.glob("databases/*/*.sql")):
        target = directory / script.parent.name / f"{script.stem}.sqlite"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            # Under another suffix until it is whole: only `.sqlite` files are databases.
            unfinished = target.with_suffix(".unfinished")
            unfinished.unlink(missing_ok=True)
            with closing(sqlite3.connect(unfinished)) as connection:
                connection.executescript(script.read_text(encoding="utf-8"))
            unfinished.replace(target)
    return directory
