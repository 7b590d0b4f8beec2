"""How often each encryption key has sealed: bounded from the ids of parcels, so that no seal is counted.

A key seals once for each parcel, and a little more: tokens, erasures. Rotating to a key seals every parcel
that is still stored once more, so its use is counted from the oldest of them.
"""

from collections.abc import Mapping

from app.store import RoadConnection


async def note(connection: RoadConnection, key: str) -> None:
    """Record since which parcel a key writes; changes nothing for a key that is known."""
    await connection.execute(
        "INSERT INTO encryption_keys (id, first_parcel) "
        "SELECT $1, coalesce((SELECT min(parcel) FROM parcel_states), (SELECT last_value FROM parcel_ids)) "
        # Looked up first: the oldest parcel is searched for once in a key's life.
        "WHERE NOT EXISTS (SELECT FROM encryption_keys WHERE id = $1) ON CONFLICT DO NOTHING",
        key,
    )


async def seals(connection: RoadConnection) -> Mapping[str, int]:
    """Return how many values each key has sealed at most, the small extra aside."""
    rows = await connection.fetch(
        "SELECT id, greatest(0, p.last_value - first_parcel) AS seals FROM encryption_keys, parcel_ids p"
    )
    return {row["id"]: row["seals"] for row in rows}
