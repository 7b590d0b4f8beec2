"""How often each encryption key was used: bounded by batch ids, so that uses need no counter.

A key seals one data key per batch, and a little more: tokens, erasures. Rotating to a key seals every stored
batch once more, so its uses are counted from the oldest of them.
"""

from collections.abc import Mapping

from app.store import PipelineConnection


async def note(connection: PipelineConnection, key: str) -> None:
    """Record the first batch of a key. Does nothing for a known key."""
    await connection.execute(
        "INSERT INTO encryption_keys (id, first_batch) "
        "SELECT $1, coalesce((SELECT min(batch) FROM batch_states), (SELECT last_value FROM batch_ids)) "
        # Checked first: the search for the oldest batch runs once in a key's life.
        "WHERE NOT EXISTS (SELECT FROM encryption_keys WHERE id = $1) ON CONFLICT DO NOTHING",
        key,
    )


async def seals(connection: PipelineConnection) -> Mapping[str, int]:
    """Return how many values each key has sealed at most, without tokens and erasures."""
    rows = await connection.fetch(
        "SELECT id, greatest(0, p.last_value - first_batch) AS seals FROM encryption_keys, batch_ids p"
    )
    return {row["id"]: row["seals"] for row in rows}
