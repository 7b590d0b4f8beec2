"""The ledger: the idempotency keys of accepted events, each with a content digest and the event's position.

A key is a 16-byte digest. The ledger is divided into generations by the time of acceptance, not by the time
of the event: an event that is sent again with another time must find its first row. Generations that began
before migration 0018 store complete digests; later ones store the first bytes (ADR 0053).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import msgspec

from app.domain.ids import BatchId
from app.store import PipelineConnection, columns_of, execute, fetch_scalar, read_sql

SQL: Final = read_sql(__file__)
SEARCHED: Final = 3  # generations in which a key is searched
SHORT_KEY: Final = 11  # bytes
SHORT_CONTENT: Final = 7


class LedgerEntry(msgspec.Struct, frozen=True, gc=False):
    """A row to insert, with complete digests. `place` is the position in the batch."""

    key: bytes
    content: bytes
    batch: BatchId
    place: int

    def is_row(self, row: "LedgerRow | None") -> bool:
        """Return whether a row with this key has the position of this entry, so this entry was inserted."""
        return row is not None and (row.batch, row.place) == (self.batch, self.place)


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The digest of an accepted event's content, as long as it is stored, and its position."""

    content: bytes
    batch: BatchId
    place: int


async def claim(connection: PipelineConnection, generation: int, entries: Sequence[LedgerEntry]) -> bool:
    """Insert the entries whose key is not in the ledger. Return whether these were all.

    The keys must be distinct. Call it under the flush lock.
    """
    # Two flushes that insert the same keys in different orders could deadlock.
    ordered = sorted(entries, key=attrgetter("key"))
    columns = columns_of(ordered, "key", "content", "batch", "place")
    inserted = await execute(connection, SQL["claim"], generation, *columns, SHORT_KEY, SHORT_CONTENT)
    return inserted == len(ordered)


async def find(
    connection: PipelineConnection, generation: int, keys: Sequence[bytes]
) -> dict[bytes, LedgerRow]:
    """Return the rows of these keys in this generation and the two previous generations."""
    rows = await connection.fetch(SQL["find"], generation, _stored_forms(keys))
    found = {row["key"]: LedgerRow(row["content"], BatchId(row["batch"]), row["place"]) for row in rows}
    both = ((key, found.get(key) or found.get(key[:SHORT_KEY])) for key in keys)
    return {key: row for key, row in both if row is not None}


async def release(connection: PipelineConnection, generation: int, keys: Sequence[bytes]) -> None:
    """Delete keys that this transaction inserted for events that it does not accept after all."""
    await connection.execute(SQL["release"], generation, _stored_forms(keys))


async def current_generation(connection: PipelineConnection) -> int:
    """Return the number of the generation that new keys belong to."""
    return await fetch_scalar(connection, int, "SELECT max(generation) FROM ledger_generations")


def _stored_forms(keys: Sequence[bytes]) -> list[bytes]:
    return [*keys, *(key[:SHORT_KEY] for key in keys)]
