"""The ledger: the idempotency keys of accepted events, each with a content digest and the event's position.

A key is a 16-byte digest. The ledger is divided into generations by the time of acceptance, not by the time
of the event: an event that is sent again with another time must find its first row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import msgspec

from app.domain.ids import BatchId
from app.store import PipelineConnection


class LedgerEntry(msgspec.Struct, frozen=True, gc=False):
    """A row to insert. `key` and the digest `content` have 16 bytes; `place` is the position in the batch."""

    key: bytes
    content: bytes
    batch: BatchId
    place: int

    def is_row(self, row: "LedgerRow | None") -> bool:
        """Return whether a row with this key has the position of this entry, so this entry was inserted."""
        return row is not None and (row.batch, row.place) == (self.batch, self.place)


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The digest of an accepted event's content, and its position."""

    content: bytes
    batch: BatchId
    place: int


async def claim(connection: PipelineConnection, generation: int, entries: Sequence[LedgerEntry]) -> bool:
    """Insert the entries whose key is not in the ledger. Return whether these were all.

    The keys must be distinct. Call it under the flush lock.
    """
    # Two flushes that insert the same keys in different orders could deadlock.
    ordered = sorted(entries, key=attrgetter("key"))
    status = await connection.execute(
        # New rows go to the current generation, so the two earlier ones need no ON CONFLICT.
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
    return int(status.rpartition(" ")[2]) == len(ordered)


async def find(
    connection: PipelineConnection, generation: int, keys: Sequence[bytes]
) -> dict[bytes, LedgerRow]:
    """Return the rows of these keys in this generation and the two previous generations."""
    rows = await connection.fetch(
        # One query per generation: Postgres 16 and older would not use the index for a range of generations.
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
    """Delete keys that this transaction inserted for events that it does not accept after all."""
    await connection.execute(
        "DELETE FROM ledger WHERE generation = $1 AND key = ANY($2)", generation, list(keys)
    )


async def current_generation(connection: PipelineConnection) -> int:
    """Return the number of the generation that new keys belong to."""
    generation: int = await connection.fetchval("SELECT max(generation) FROM ledger_generations")
    return generation
