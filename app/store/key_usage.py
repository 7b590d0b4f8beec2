"""How often each encryption key has sealed: bounded from the ids of batches, so that no seal is counted.

A key seals once for each batch, and a little more: tokens, erasures. Rotating to a key seals every batch
that is still stored once more, so its use is counted from the oldest of them.
"""

from collections.abc import Mapping

from app.store import PipelineConnection


async def note(connection: PipelineConnection, key: str) -> None:
    """Record since which batch a key writes; changes nothing for a key that is known."""
    await connection.execute(
        "INSERT INTO encryption_keys (id, first_batch) "
        "SELECT $1, coalesce((SELECT min(batch) FROM batch_states), (SELECT last_value FROM batch_ids)) "
        # Looked up first: the oldest batch is searched for once in a key's life.
        "WHERE NOT EXISTS (SELECT FROM encryption_keys WHERE id = $1) ON CONFLICT DO NOTHING",
        key,
    )


async def seals(connection: PipelineConnection) -> Mapping[str, int]:
    """Return how many values each key has sealed at most, the small extra aside."""
    rows = await connection.fetch(
        "SELECT id, greatest(0, p.last_value - first_batch) AS seals FROM encryption_keys, batch_ids p"
    )
    return {row["id"]: row["seals"] for row in rows}
