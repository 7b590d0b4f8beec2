"""The ledger: which ids were accepted, with what content, and where they lie.

A key is a 16-byte digest. Its generation is that of acceptance on the database's clock, never of the
caller's event time: an id sent again with another time must meet its first row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import msgspec

from app.domain.ids import BatchId
from app.store import PipelineConnection


class LedgerEntry(msgspec.Struct, frozen=True, gc=False):
    """One row asked for: `key` and `content` are 16 bytes each; `place` counts within the batch."""

    key: bytes
    content: bytes
    batch: BatchId
    place: int


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the ledger already holds under a key."""

    content: bytes
    batch: BatchId
    place: int


async def claim(
    connection: PipelineConnection, generation: int, entries: Sequence[LedgerEntry]
) -> dict[bytes, LedgerRow]:
    """Insert the keys that nobody holds, in order of key; return what stands under those that somebody does.

    Must run under the flush lock. The keys of `entries` are distinct. Sorting keeps two flushes with
    the same keys in opposite order from waiting for each other.
    """
    ordered = sorted(entries, key=_key)
    status = await connection.execute(
        # The two generations before this one are only read; a conflict can arise in this one alone.
        """
        INSERT INTO ledger (generation, key, content, batch, place)
        SELECT $1, c.key, c.content, c.batch, c.place
        FROM unnest($2::bytea[], $3::bytea[], $4::bigint[], $5::smallint[])
          WITH ORDINALITY AS c (key, content, batch, place, nth)
        WHERE NOT EXISTS (SELECT FROM ledger l WHERE l.generation = $1 - 1 AND l.key = c.key)
          AND NOT EXISTS (SELECT FROM ledger l WHERE l.generation = $1 - 2 AND l.key = c.key)
        ORDER BY c.nth ON CONFLICT DO NOTHING
        """,
        generation,
        [entry.key for entry in ordered],
        [entry.content for entry in ordered],
        [entry.batch for entry in ordered],
        [entry.place for entry in ordered],
    )
    if int(status.rpartition(" ")[2]) == len(ordered):
        return {}  # the usual case: every key was free, and only their number travels
    found = await find(connection, generation, [entry.key for entry in ordered])
    # A batch has one flush, and a place in it one event: what stands there as we wrote it is ours.
    return {
        entry.key: held
        for entry in ordered
        if (held := found[entry.key]).batch != entry.batch or held.place != entry.place
    }


_key = attrgetter("key")


async def find(
    connection: PipelineConnection, generation: int, keys: Sequence[bytes]
) -> dict[bytes, LedgerRow]:
    """Return what stands under `keys` in this generation and the two before.

    A statement of its own: the snapshot of `claim` cannot see the row that it lost to.
    """
    rows = await connection.fetch(
        # Each generation by itself: a range of them could not be looked up by key (Postgres 16 and before).
        """
        SELECT key, content, batch, place FROM ledger WHERE generation = $1 AND key = ANY($2)
        UNION ALL
        SELECT key, content, batch, place FROM ledger WHERE generation = $1 - 1 AND key = ANY($2)
        UNION ALL
        SELECT key, content, batch, place FROM ledger WHERE generation = $1 - 2 AND key = ANY($2)
        """,
        generation,
        list(keys),
    )
    return {row["key"]: LedgerRow(row["content"], BatchId(row["batch"]), row["place"]) for row in rows}


async def release(connection: PipelineConnection, generation: int, keys: Sequence[bytes]) -> None:
    """Take back keys that were won in this very transaction by an event that lost its other key."""
    await connection.execute(
        "DELETE FROM ledger WHERE generation = $1 AND key = ANY($2)", generation, list(keys)
    )


async def current_generation(connection: PipelineConnection) -> int:
    """Return the generation that accepts now."""
    generation: int = await connection.fetchval("SELECT max(generation) FROM ledger_generations")
    return generation
