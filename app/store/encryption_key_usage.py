"""How often each encryption key was used: an upper bound from batch ids, without a counter.

A key encrypts one data key per batch and some other values (tokens, erasures). Rotating to a key re-encrypts
the data key of every stored batch, so its uses are counted from the oldest batch.
"""

from collections.abc import Mapping

from app.store import PipelineConnection


async def note(connection: PipelineConnection, key: str) -> None:
    """Record the first batch of a key. Does nothing for a known key."""
    await connection.execute(
        "INSERT INTO encryption_keys (id, first_batch) "
        "SELECT $1, coalesce((SELECT min(batch) FROM batch_states), (SELECT last_value FROM batch_ids)) "
        # Check first, so that the search for the oldest batch runs only once per key.
        "WHERE NOT EXISTS (SELECT FROM encryption_keys WHERE id = $1) ON CONFLICT DO NOTHING",
        key,
    )


async def seals(connection: PipelineConnection) -> Mapping[str, int]:
    """Return an upper bound of the values that each key has encrypted, without tokens and erasures."""
    rows = await connection.fetch(
        "SELECT id, greatest(0, p.last_value - first_batch) AS seals FROM encryption_keys, batch_ids p"
    )
    return {row["id"]: row["seals"] for row in rows}
