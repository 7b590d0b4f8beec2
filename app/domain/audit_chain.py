"""The audit's chain: every row holds the hash of the row before it, so that a change in one shows there.

The database makes links as transactions commit (migration 0004); this recomputes them from what was read,
by itself, so that a function altered in the database cannot vouch for an altered row.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

START: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class ChainRow:
    """One row: its number in the chain, its members as the database writes them, and both hashes."""

    number: int | None
    id: int
    members: tuple[str | None, ...]  # link, id, at, actor, act, subject, destination, before, after
    prev_hash: bytes | None
    hash: bytes | None


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The chain holds: how many rows it has, and the hash of the last one."""

    rows: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class ChainBroken:
    """The first row at which the chain does not hold, and why, in a sentence."""

    id: int
    sentence: str


def hashed_text(members: Iterable[str | None]) -> str:
    """Return a row as it is hashed: each member with its length in bytes before it, `-` for none."""
    return "".join("-" if one is None else f"{len(one.encode())}:{one}" for one in members)


def verify(links: Iterable[ChainRow], begun: ChainHead | None = None) -> ChainHead | ChainBroken:
    """Follow the chain in the order of its numbers; `begun` is where an earlier part of it ended."""
    rows, last = (0, START) if begun is None else (begun.rows, begun.hash)
    for link in links:
        if link.number is None or link.hash is None or link.prev_hash is None:
            return ChainBroken(
                link.id, "It was never linked: the database's own trigger did not see it come in."
            )
        if link.number != rows + 1:
            missing = f"{rows + 1}" if link.number == rows + 2 else f"{rows + 1} to {link.number - 1}"
            return ChainBroken(link.id, f"It is number {link.number}; before it, {missing} is missing.")
        if link.prev_hash != last:
            return ChainBroken(link.id, "It does not follow the row before it.")
        if hashlib.sha256(link.prev_hash + hashed_text(link.members).encode()).digest() != link.hash:
            return ChainBroken(link.id, "It is not what was written: its hash is another.")
        rows, last = link.number, link.hash
    return ChainHead(rows, last)
