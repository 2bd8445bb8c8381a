"""The hostile predictions of `hostile/*.jsonl`, and golds to score them against.

A line has an `id`, what the prediction `attempts`, the `states` that its verdicts may have, and its text: `sql`, or
`pieces` of text with how often each is repeated (`{i}` counts the repetitions from 0, `{j}` from 1), or `bytes` in
base64. `{table}` and `{column}` stand for a table of the database and its key.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "hostile"
TABLES = {
    "lighthouse_coast": ("lighthouses", "lighthouse_id"),
    "night_log": ("astronomers", "astronomer_id"),
    "seed_bank": ("species", "species_id"),
    "tool_library": ("tools", "tool_id"),
}


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
                database = list(TABLES)[len(items) % len(TABLES)]
                text, states = _text(item, *TABLES[database]), frozenset(item["states"])
                items.append(Hostile(item["id"], item["attempts"], text, states, database))
    return items


def gold(database: str, *, rows: bool) -> str:
    """Write a gold that returns some rows of one column, or none."""
    table, column = TABLES[database]
    return f"SELECT {column} FROM {table} WHERE {column} {'<' if rows else '>'} 1000000000"


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
