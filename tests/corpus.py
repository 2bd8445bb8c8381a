"""The hostile predictions of `hostile/*.jsonl`, and golds to score them against.

A line has an `id`, what the prediction `attempts`, the `states` that its verdicts may have, and its text: `sql`, or
`pieces` of text with how often each is repeated (`{i}` counts the repetitions from 0, `{j}` from 1), or `bytes` in
base64. `{table}` and `{column}` stand for a table of the database and its key. Those in `modules.jsonl` are for the
database `archive` with virtual tables, which `build_archive` makes; all others take turns with the demo databases.
"""

from __future__ import annotations

import base64
import json
import random
import sqlite3
import struct
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "hostile"
TABLES = {
    "lighthouse_coast": ("lighthouses", "lighthouse_id"),
    "night_log": ("astronomers", "astronomer_id"),
    "seed_bank": ("species", "species_id"),
    "tool_library": ("tools", "tool_id"),
}
ARCHIVE = "archive"
ARCHIVE_TABLE = ("documents", "document_id")


@dataclass(frozen=True)
class Hostile:
    """A hostile prediction."""

    id: str
    attempts: str
    text: str
    states: frozenset[str]
    database: str


def load() -> list[Hostile]:
    """Read all hostile predictions; they take turns with the databases."""
    items = []
    for path in sorted(FOLDER.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line:
                item = json.loads(line)
                is_for_archive = path.stem == "modules"
                database = ARCHIVE if is_for_archive else list(TABLES)[len(items) % len(TABLES)]
                text, states = _text(item, *_table(database)), frozenset(item["states"])
                items.append(Hostile(item["id"], item["attempts"], text, states, database))
    return items


def gold(database: str, *, rows: bool) -> str:
    """Write a gold that returns some rows of one column, or none."""
    table, column = _table(database)
    return f"SELECT {column} FROM {table} WHERE {column} {'<' if rows else '>'} 1000000000"


def build_archive(databases: Path) -> Path:
    """Make the database `archive` in a folder of databases: full-text indexes and trees, whole and damaged.

    Returns:
        The folder of databases.
    """
    file = databases / ARCHIVE / f"{ARCHIVE}.sqlite"
    file.parent.mkdir()
    connection = sqlite3.connect(file)
    connection.executescript(_ARCHIVE)
    # A tree of four levels, in each of which all branches lead to the one node of the next.
    box = struct.pack(">ffff", 0, 1, 0, 1)
    for node in range(1, 5):
        cells = b"".join(struct.pack(">q", node + 1 if node < 4 else cell) + box for cell in range(25))
        content = struct.pack(">HH", 3 if node == 1 else 0, 25) + cells
        size = len(connection.execute("SELECT data FROM boxes_node").fetchone()[0])
        connection.execute("REPLACE INTO loop_tree_node VALUES (?, ?)", (node, content.ljust(size, b"\0")))
        connection.execute("REPLACE INTO loop_tree_parent VALUES (?, ?)", (node + 1, node))
    connection.create_function("noise", 1, lambda length: random.Random(1).randbytes(length))  # noqa: S311
    connection.execute("UPDATE torn_data SET block = noise(length(block)) WHERE id > 100")
    connection.execute("UPDATE torn_tree_node SET data = noise(length(data))")
    connection.execute("PRAGMA writable_schema = 1")
    connection.execute("DELETE FROM sqlite_master WHERE name = 'lost_content'")
    unknown = "CREATE VIRTUAL TABLE far USING VirtualSpatialIndex()"
    connection.execute("INSERT INTO sqlite_master VALUES ('table', 'far', 'far', 0, ?)", (unknown,))
    connection.commit()
    connection.close()
    return databases


_ARCHIVE = """
CREATE TABLE documents (document_id INTEGER PRIMARY KEY, title TEXT);
INSERT INTO documents VALUES (1, 'one'), (2, 'two'), (3, 'three');
CREATE TABLE numbers (n);
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 500) INSERT INTO numbers SELECT n FROM r;
CREATE VIRTUAL TABLE notes USING fts5 (title, body);
INSERT INTO notes SELECT 'w' || n, 'a b c ' || (n % 7) || ' w' || (n / 2) FROM numbers;
INSERT INTO notes VALUES (replace(hex(zeroblob(4000)), '00', 'a b '), 'a');
CREATE VIRTUAL TABLE grams USING fts5 (text, tokenize = 'trigram');
INSERT INTO grams VALUES (replace(hex(zeroblob(4000)), '0', 'a'));
CREATE VIRTUAL TABLE words USING fts5vocab (notes, instance);
CREATE VIRTUAL TABLE letters USING fts4 (title, body);
INSERT INTO letters SELECT * FROM notes;
CREATE VIRTUAL TABLE boxes USING rtree (box_id, x0, x1, y0, y1);
INSERT INTO boxes SELECT n, 0, n, 0, n FROM numbers;
CREATE VIRTUAL TABLE torn USING fts5 (title, body);
INSERT INTO torn SELECT * FROM notes;
CREATE VIRTUAL TABLE lost USING fts5 (title);
INSERT INTO lost VALUES ('a');
CREATE VIRTUAL TABLE torn_tree USING rtree (box_id, x0, x1);
INSERT INTO torn_tree SELECT n, 0, n FROM numbers;
CREATE VIRTUAL TABLE loop_tree USING rtree (box_id, x0, x1, y0, y1);
INSERT INTO loop_tree VALUES (1, 0, 1, 0, 1);
"""


def _table(database: str) -> tuple[str, str]:
    return ARCHIVE_TABLE if database == ARCHIVE else TABLES[database]


def _text(item: dict, table: str, column: str) -> str:
    if "bytes" in item:
        return base64.b64decode(item["bytes"]).decode("utf-8", "surrogateescape")
    pieces = item.get("pieces") or [[item["sql"], 1]]
    text = "".join(_repeated(piece, times) for piece, times in pieces)
    return text.replace("{table}", table).replace("{column}", column)


def _repeated(piece: str, times: int) -> str:
    if "{i}" not in piece and "{j}" not in piece:
        return piece * times
    return "".join(piece.replace("{i}", str(count)).replace("{j}", str(count + 1)) for count in range(times))
