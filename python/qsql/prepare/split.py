"""Training and validation, split by schema: no schema is on both sides."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from qsql._core import QsqlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsql.prepare.leakage import Signatures
    from qsql.prepare.rows import Row


def split_rows(
    rows: Sequence[Row], validation: float, seed: int, signatures: Signatures
) -> tuple[list[Row], list[Row]]:
    """Split rows by a hash of seed and schema, so that rows that are added move none of the others.

    Args:
        rows: What to split; the order is kept.
        validation: Share of the schemas for validation, from 0 to 1; about that, since each schema is drawn for itself.
        seed: Another seed draws other schemas.
        signatures: Tell which schemas are the same, however they are written.

    Returns:
        Rows for training and rows for validation.

    Raises:
        QsqlError: If validation is wanted, and one of the sides is empty.
    """
    train: list[Row] = []
    held_out: list[Row] = []
    drawn: dict[str, bool] = {}
    for row in rows:
        if row.schema not in drawn:
            drawn[row.schema] = draw(row.schema, seed, signatures) < validation
        (held_out if drawn[row.schema] else train).append(row)
    if validation > 0 and not (train and held_out):
        empty = "training" if held_out else "validation"
        raise QsqlError(
            f"all of {len(drawn)} schemas fall on one side, {empty} has none (share {validation}, seed {seed})\n"
            "hint: give another `--seed` or another `--validation`"
        )
    return train, held_out


def draw(schema: str, seed: int, signatures: Signatures) -> float:
    """Draw a number from 0 to 1 for a schema, always the same for the same seed."""
    signature = signatures.of(schema)
    name = sorted(signature.columns) if signature is not None else schema
    digest = hashlib.sha256(json.dumps([seed, name]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
