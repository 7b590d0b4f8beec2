"""The ledger: the idempotency keys of accepted events, with a content digest and the event's position.

A key is a 16-byte digest. Its generation depends on the time of acceptance on the database's clock, never on
the caller's event time: an event sent again with another time must find its first row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import msgspec

from app.domain.ids import BatchId
from app.store import PipelineConnection


class LedgerEntry(msgspec.Struct, frozen=True, gc=False):
    """A row to insert: `key` and `content` are 16 bytes each; `place` is the position within the batch."""

    key: bytes
    content: bytes
    batch: BatchId
    place: int


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A stored row of the ledger."""

    content: bytes
    batch: BatchId
    place: int


async def claim(
    connection: PipelineConnection, generation: int, entries: Sequence[LedgerEntry]
) -> dict[bytes, LedgerRow]:
    """Insert the free keys, in order of key; return the rows of the others.

    Requires the flush lock and distinct keys. Sorting prevents deadlocks of two flushes with the same keys.
    """
    ordered = sorted(entries, key=_key)
    status = await connection.execute(
        # The two earlier generations are only read; conflicts can occur only in the current one.
        """
        INSERT INTO ledger (generation, key, content, batch, place)
        SELECT $1, c.key, c.content, c.batch, c.place
        -- In the order of the sorted arrays.
        FROM unnest($2::bytea[], $3::bytea[], $4::bigint[], $5::smallint[])
          WITH ORDINALITY AS c (key, content, batch, place, ordinal)
        WHERE NOT EXISTS (SELECT FROM ledger l WHERE l.generation = $1 - 1 AND l.key = c.key)
          AND NOT EXISTS (SELECT FROM ledger l WHERE l.generation = $1 - 2 AND l.key = c.key)
        ORDER BY c.ordinal ON CONFLICT DO NOTHING
        """,
        generation,
        [entry.key for entry in ordered],
        [entry.content for entry in ordered],
        [entry.batch for entry in ordered],
        [entry.place for entry in ordered],
    )
    if int(status.rpartition(" ")[2]) == len(ordered):
        return {}  # the usual case: every key was free, and only the number of rows is returned
    found = await find(connection, generation, [entry.key for entry in ordered])
    # A batch belongs to one flush and a position to one event: rows equal to ours are ours.
    return {
        entry.key: row
        for entry in ordered
        if (row := found[entry.key]).batch != entry.batch or row.place != entry.place
    }


_key = attrgetter("key")


async def find(
    connection: PipelineConnection, generation: int, keys: Sequence[bytes]
) -> dict[bytes, LedgerRow]:
    """Return the rows of `keys` in this generation and the two before.

    A separate statement: the snapshot of `claim` cannot see the conflicting row.
    """
    rows = await connection.fetch(
        # One query per generation: Postgres 16 and older cannot look keys up in a range of them.
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
    """Delete keys that this transaction inserted for events whose other key was not free."""
    await connection.execute(
        "DELETE FROM ledger WHERE generation = $1 AND key = ANY($2)", generation, list(keys)
    )


async def current_generation(connection: PipelineConnection) -> int:
    """Return the current generation."""
    generation: int = await connection.fetchval("SELECT max(generation) FROM ledger_generations")
    return generation
