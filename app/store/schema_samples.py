"""Schema samples of recent events, a bounded ring per mapping: paths and types, never a value."""

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import MappingNumber
from app.domain.observed.schema_sample import SchemaSample, pack, read
from app.store import PipelineConnection, damage

RING = 1_000
"""The number of a mapping's newest events that are read."""


async def add(
    connection: PipelineConnection, seen: MappingOf[MappingNumber, MappingOf[SchemaSample, int]]
) -> None:
    """Write the samples of each mapping, one row per mapping."""
    await connection.executemany(
        "INSERT INTO schema_samples (mapping, events, content) VALUES ($1, $2, $3)",
        [(mapping, sum(counted.values()), pack(counted)) for mapping, counted in seen.items()],
    )


async def trim(connection: PipelineConnection, mappings: Sequence[MappingNumber]) -> None:
    """Delete samples beyond each ring. Concurrent calls delete the same rows, which is harmless."""
    await connection.execute(
        "DELETE FROM schema_samples WHERE id IN ("
        "  SELECT id FROM ("
        "    SELECT id, sum(events) OVER (PARTITION BY mapping ORDER BY id DESC) - events AS newer"
        "    FROM schema_samples WHERE mapping = ANY ($1)"
        "  ) AS counted WHERE newer >= $2)",
        list(mappings),
        RING,
    )


async def recent(
    connection: AsyncConnection, mapping: str, *, limit: int = RING
) -> list[tuple[SchemaSample, int]]:
    """Return the newest samples of a mapping with their frequency, `limit` events at most."""
    return await _newest(connection, "m.id = :of", {"of": mapping, "rows": limit})


async def of_destination(
    connection: AsyncConnection, destination: str, *, limit: int = RING
) -> list[tuple[SchemaSample, int]]:
    """Return the newest samples over all mappings of a destination, archived ones included."""
    return await _newest(connection, "m.destination = :of", {"of": destination, "rows": limit})


async def _newest(
    connection: AsyncConnection, which: str, values: MappingOf[str, str | int]
) -> list[tuple[SchemaSample, int]]:
    """Return the newest samples; leave out rows that cannot be read."""
    chosen = (
        "FROM schema_samples o JOIN mappings m ON m.number = o.mapping "
        f"WHERE m.organisation_id = acting_organisation() AND {which} ORDER BY o.id DESC LIMIT :rows"
    )
    try:
        async with connection.begin_nested():
            found = await connection.execute(text(f"SELECT o.content {chosen}"), values)
            contents = [bytes(row.content) for row in found]
    except DBAPIError as error:
        if not damage.is_damage(error):
            raise
        ids = (await connection.execute(text(f"SELECT o.id {chosen}"), values)).scalars().all()
        contents = [content for id_ in ids if (content := await _content(connection, id_)) is not None]
    return _up_to(int(values["rows"]), contents)


async def _content(connection: AsyncConnection, id_: int) -> bytes | None:
    try:
        async with connection.begin_nested():
            content = await connection.scalar(
                text("SELECT content FROM schema_samples WHERE id = :id"), {"id": id_}
            )
    except DBAPIError as error:
        if not damage.is_damage(error):
            raise
        return None
    return None if content is None else bytes(content)


def _up_to(limit: int, newest_first: Sequence[bytes]) -> list[tuple[SchemaSample, int]]:
    found: list[tuple[SchemaSample, int]] = []
    for kept in newest_first:
        for shape, times in read(kept) or ():
            if limit <= 0:
                return found
            found.append((shape, min(times, limit)))
            limit -= times
    return found
