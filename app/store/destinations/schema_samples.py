"""Schema samples of recent events by mapping: paths and kinds of their values, and fingerprints of texts."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, replace

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId, DestinationNumber, MappingNumber
from app.domain.observed.fingerprints import Fingerprints
from app.domain.observed.schema_sample import SampleGroup, SchemaSample, pack, read
from app.store import PipelineConnection
from app.store.database import damage
from app.store.statements import execute

RING = 1_000
"""The number of newest events per mapping whose samples are kept."""


async def add(
    connection: PipelineConnection, groups: Iterable[tuple[MappingNumber, SampleGroup]], known: Fingerprints
) -> None:
    """Write one row for each group of samples of a mapping."""

    def rows() -> list[tuple[MappingNumber, int, bytes]]:
        return [(mapping, sum(group.samples.values()), pack(group, known)) for mapping, group in groups]

    await connection.executemany(
        "INSERT INTO schema_samples (mapping, events, content) VALUES ($1, $2, $3)",
        # To pack 500 samples of many paths takes 0.2 s.
        await asyncio.to_thread(rows),
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


# --- Fingerprints ---------------------------------------------------------------------------------

_CLOSE = """
    INSERT INTO schema_fingerprints AS f (destination, closed)
    SELECT number, CAST({paths} AS text[]) FROM destinations WHERE {which}
    ON CONFLICT (destination) DO UPDATE
    SET closed = ARRAY(SELECT DISTINCT unnest(f.closed || excluded.closed)), content = '',
      generation = f.generation + 1
    WHERE NOT f.closed @> excluded.closed
"""


async def lock_fingerprints(
    connection: PipelineConnection, destination: DestinationNumber, match_key_paths: Collection[str]
) -> tuple[Fingerprints, int]:
    """Return the fingerprints of a destination and the number of its erasures.

    The row is locked until the transaction ends. `match_key_paths` feed match keys of the destination's
    mappings, so that they never have fingerprints.
    """
    query = (
        "SELECT closed, content, generation, erasures FROM schema_fingerprints "
        "WHERE destination = $1 FOR UPDATE"
    )
    row = await connection.fetchrow(query, destination)
    if row is None or not set(match_key_paths) <= set(row["closed"]):
        statement = _CLOSE.format(paths="$2", which="number = $1")
        await connection.execute(statement, destination, sorted(match_key_paths))
        row = await connection.fetchrow(query, destination)
    if row is None:
        return Fingerprints(), 0
    return Fingerprints(row["closed"], row["content"], row["generation"]), row["erasures"]


async def write_fingerprints(
    connection: PipelineConnection, destination: DestinationNumber, known: Fingerprints
) -> None:
    """Write the fingerprints of a destination, which must be locked."""
    await connection.execute(
        "UPDATE schema_fingerprints SET content = $2 WHERE destination = $1 AND content <> $2",
        destination,
        known.stored(),
    )


async def close_paths(
    connection: AsyncConnection, destination: DestinationId, match_key_paths: Collection[str]
) -> None:
    """Delete the fingerprints of a destination if new paths feed a match key, which then never have any."""
    await execute(
        connection,
        _CLOSE.format(paths=":paths", which="id = :destination AND organisation_id = acting_organisation()"),
        destination=destination,
        paths=sorted(match_key_paths),
    )


# --- Reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredSamples:
    """The samples of the newest `limit` events, as stored, the newest first.

    To decode them takes up to 0.2 s, so this must not happen in the event loop.
    """

    rows: Sequence[bytes]
    known: Fingerprints
    limit: int

    def groups(self) -> list[SampleGroup]:
        """Decode the samples, without damaged rows."""
        found, limit = list[SampleGroup](), self.limit
        for content in self.rows:
            if limit <= 0:
                break
            if (group := read(content, self.known)) is not None:
                samples: dict[SchemaSample, int] = {}
                for sample, times in group.samples.items():
                    if limit > 0:
                        samples[sample] = min(times, limit)
                        limit -= times
                found.append(replace(group, samples=samples))
        return found

    def counted(self) -> list[tuple[SchemaSample, int]]:
        """Decode the samples, each with its number of events."""
        return [counted for group in self.groups() for counted in group.samples.items()]


async def recent(connection: AsyncConnection, mapping: str, *, limit: int = RING) -> StoredSamples:
    """Return the samples of the newest `limit` events of a mapping."""
    return await _newest(connection, "m.id = :of", {"of": mapping, "rows": limit})


async def of_destination(connection: AsyncConnection, destination: str) -> StoredSamples:
    """Return the samples of the newest events of a destination, over all its mappings."""
    return await _newest(connection, "m.destination = :of", {"of": destination, "rows": RING})


async def _newest(
    connection: AsyncConnection, which: str, values: MappingOf[str, str | int]
) -> StoredSamples:
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
    known = await _fingerprints(connection, which, values)
    return StoredSamples(contents, known, int(values["rows"]))


async def _fingerprints(
    connection: AsyncConnection, which: str, values: MappingOf[str, str | int]
) -> Fingerprints:
    statement = (
        "SELECT f.closed, f.content, f.generation FROM schema_fingerprints f "
        "JOIN destinations d ON d.number = f.destination JOIN mappings m ON m.destination = d.id "
        f"WHERE m.organisation_id = acting_organisation() AND {which} LIMIT 1"
    )
    with damage.suppressed():
        async with connection.begin_nested():
            row = (await connection.execute(text(statement), {"of": values["of"]})).one_or_none()
        if row is not None:
            return Fingerprints(row.closed, bytes(row.content), row.generation)
    return Fingerprints()


async def _content(connection: AsyncConnection, id_: int) -> bytes | None:
    """Return the content of a row, or None if it is missing or damaged."""
    with damage.suppressed():
        async with connection.begin_nested():
            content = await connection.scalar(
                text("SELECT content FROM schema_samples WHERE id = :id"), {"id": id_}
            )
        return None if content is None else bytes(content)
    return None
