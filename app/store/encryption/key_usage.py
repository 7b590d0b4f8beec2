"""How often each encryption key was used: an upper bound from batch ids, without a counter.

A key encrypts the data key of each batch, and a few other values (tokens, erasures). The uses of a new key
are counted from the oldest batch that is stored then, because a rotation encrypts all stored data keys again.
"""

from collections.abc import Mapping
from typing import Final

from app.store import PipelineConnection, fetch_map, fetch_scalar, read_sql

SQL: Final = read_sql(__file__)


async def note(connection: PipelineConnection, key: str) -> None:
    """Record the batch from which the uses of a key are counted. Does nothing for a known key."""
    await connection.execute(SQL["note"], key)


async def is_used(connection: PipelineConnection, key: str) -> bool:
    """Return whether a process has ever encrypted with the key of this id."""
    statement = "SELECT EXISTS (SELECT FROM encryption_keys WHERE id = $1)"
    return await fetch_scalar(connection, bool, statement, key)


async def seals(connection: PipelineConnection) -> Mapping[str, int]:
    """Return an upper bound of the data keys that each encryption key has encrypted, by its id."""
    return await fetch_map(
        connection, "SELECT id, greatest(0, p.last_value - first_batch) FROM encryption_keys, batch_ids p"
    )
