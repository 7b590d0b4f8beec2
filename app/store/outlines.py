"""Outlines of recent events, a bounded ring for each mapping: forms only, never a value."""

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import MappingNumber
from app.domain.outline import Outline, pack, unpack
from app.store import RoadConnection

RING = 1_000
"""How many of a mapping's events are looked back at."""


async def add(connection: RoadConnection, seen: MappingOf[MappingNumber, MappingOf[Outline, int]]) -> None:
    """Write what was seen of each mapping's events, one row a mapping."""
    await connection.executemany(
        "INSERT INTO outlines (mapping, events, content) VALUES ($1, $2, $3)",
        [(mapping, sum(counted.values()), pack(counted)) for mapping, counted in seen.items()],
    )


async def trim(connection: RoadConnection, mappings: Sequence[MappingNumber]) -> None:
    """Forget what lies beyond each ring. Two that trim at once delete the same rows, which is harmless."""
    await connection.execute(
        "DELETE FROM outlines WHERE id IN ("
        "  SELECT id FROM ("
        "    SELECT id, sum(events) OVER (PARTITION BY mapping ORDER BY id DESC) - events AS newer"
        "    FROM outlines WHERE mapping = ANY ($1)"
        "  ) AS counted WHERE newer >= $2)",
        list(mappings),
        RING,
    )


async def recent(
    connection: AsyncConnection, mapping: str, *, limit: int = RING
) -> list[tuple[Outline, int]]:
    """Return outlines of a mapping's newest events with how often each was seen, `limit` events at most."""
    rows = await connection.execute(
        text(
            "SELECT o.content FROM outlines o JOIN mappings m ON m.number = o.mapping "
            "WHERE m.id = :mapping ORDER BY o.id DESC LIMIT :rows"
        ),
        {"mapping": mapping, "rows": limit},
    )
    return _up_to(limit, [bytes(row.content) for row in rows])


async def of_destination(
    connection: AsyncConnection, destination: str, *, limit: int = RING
) -> list[tuple[Outline, int]]:
    """Return the same over all mappings of a destination, archived ones too."""
    rows = await connection.execute(
        text(
            "SELECT o.content FROM outlines o JOIN mappings m ON m.number = o.mapping "
            "WHERE m.destination = :destination ORDER BY o.id DESC LIMIT :rows"
        ),
        {"destination": destination, "rows": limit},
    )
    return _up_to(limit, [bytes(row.content) for row in rows])


def _up_to(limit: int, newest_first: Sequence[bytes]) -> list[tuple[Outline, int]]:
    found: list[tuple[Outline, int]] = []
    for kept in newest_first:
        for shape, times in unpack(kept):
            if limit <= 0:
                return found
            found.append((shape, min(times, limit)))
            limit -= times
    return found
