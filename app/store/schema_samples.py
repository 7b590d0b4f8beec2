"""Schema samples of recent events by mapping: the paths and types of their fields, never a value."""

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import MappingNumber
from app.domain.observed.schema_sample import SchemaSample, pack, read
from app.store import PipelineConnection, damage

RING = 1_000
"""The number of newest events per mapping whose samples are kept."""


async def add(
    connection: PipelineConnection, seen: MappingOf[MappingNumber, MappingOf[SchemaSample, int]]
) -> None:
    """Write one row for each mapping. `seen` counts the events of each sample."""
    await connection.executemany(
        "INSERT INTO schema_samples (mapping, events, content) VALUES ($1, $2, $3)",
        [(mapping, sum(counted.values()), pack(counted)) for mapping, counted in seen.items()],
    )


async def trim(connection: PipelineConnection, mappings: Sequence[MappingNumber]) -> None:
    """Delete the samples of these mappings, except the samples of the newest 1,000 events."""
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
    """Return (sample, number of events) for the newest `limit` events of a mapping."""
    return await _newest(connection, "m.id = :of", {"of": mapping, "rows": limit})


async def of_destination(
    connection: AsyncConnection, destination: str, *, limit: int = RING
) -> list[tuple[SchemaSample, int]]:
    """Return (sample, number of events) for the newest events of a destination, over all its mappings."""
    return await _newest(connection, "m.destination = :of", {"of": destination, "rows": limit})


async def _newest(
    connection: AsyncConnection, which: str, values: MappingOf[str, str | int]
) -> list[tuple[SchemaSample, int]]:
    """Return the newest samples of the mappings that meet the SQL condition `which`, without damaged rows."""
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
    """Return the content of a row, or None if it is missing or damaged."""
    with damage.suppressed():
        async with connection.begin_nested():
            content = await connection.scalar(
                text("SELECT content FROM schema_samples WHERE id = :id"), {"id": id_}
            )
        return None if content is None else bytes(content)
    return None


def _up_to(limit: int, newest_first: Sequence[bytes]) -> list[tuple[SchemaSample, int]]:
    found: list[tuple[SchemaSample, int]] = []
    for kept in newest_first:
        for shape, times in read(kept) or ():
            if limit <= 0:
                return found
            found.append((shape, min(times, limit)))
            limit -= times
    return found
