"""Verify the audit chain. Every row contains the hash of the previous row, so that a change is detectable.

A database trigger, `audit_sealed`, computes the hashes when a transaction commits. This module recomputes the
hashes, so it detects a changed row even if the trigger's function was changed too.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

START: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class ChainRow:
    """One row of the audit table. `number` and the hashes are None if the trigger did not run.

    `members` are the hashed columns: sequence, id, at, organisation, actor, action, subject, destination,
    before, after.
    """

    number: int | None
    id: int
    members: tuple[str | None, ...]
    prev_hash: bytes | None
    hash: bytes | None


@dataclass(frozen=True, slots=True)
class ChainHead:
    """A valid chain: the number of rows, and the hash of the last row."""

    rows: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class ChainBroken:
    """The first row at which the chain is broken, and the reason in a sentence."""

    id: int
    sentence: str


def is_unchanged(row: ChainRow) -> bool:
    """Return whether the hash of a row matches the row's members."""
    if row.hash is None or row.prev_hash is None:
        return False
    # Each member has its length in bytes before it; `-` stands for None.
    texts = ("-" if member is None else f"{len(member.encode())}:{member}" for member in row.members)
    return hashlib.sha256(row.prev_hash + "".join(texts).encode()).digest() == row.hash


def verify(chain: Iterable[ChainRow], start: ChainHead | None = None) -> ChainHead | ChainBroken:
    """Verify rows in the order of their numbers, beginning after `start` or at the first row.

    Return the new head, or the first row at which the chain is broken.
    """
    rows, last = (0, START) if start is None else (start.rows, start.hash)
    for row in chain:
        if row.number is None or row.hash is None or row.prev_hash is None:
            return ChainBroken(
                row.id, "The row is not linked: it was inserted without the database's trigger."
            )
        if row.number != rows + 1:
            missing = f"{rows + 1} is" if row.number == rows + 2 else f"{rows + 1} to {row.number - 1} are"
            return ChainBroken(row.id, f"It is number {row.number}; before it, {missing} missing.")
        if row.prev_hash != last:
            return ChainBroken(row.id, "It does not contain the hash of the previous row.")
        if not is_unchanged(row):
            return ChainBroken(row.id, "Its content was changed: it does not match its hash.")
        rows, last = row.number, row.hash
    return ChainHead(rows, last)
