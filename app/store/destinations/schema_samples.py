"""Schema samples of recent events by mapping: paths and kinds of their values, and fingerprints of texts."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DestinationId, DestinationNumber, MappingNumber
from app.domain.observed.fingerprints import Fingerprints
from app.domain.observed.schema_sample import SampleGroup, SchemaSample, pack, read
from app.store import PipelineConnection, driver_of, read_sql
from app.store.database import damage
from app.store.statements import execute

SQL: Final = read_sql(__file__)

RING = 1_000
"""The number of newest events per mapping whose samples are kept."""


async def add(
    connection: PipelineConnection, groups: Iterable[tuple[MappingNumber, SampleGroup, Fingerprints]]
) -> None:
    """Write one row for each group of samples of a mapping, and add its words to the fingerprints."""

    def rows() -> list[tuple[MappingNumber, int, bytes]]:
        return [
            (mapping, sum(group.samples.values()), pack(group, known)) for mapping, group, known in groups
        ]

    # To pack 500 samples of many paths takes 0.2 s.
    await connection.executemany(SQL["add"], await asyncio.to_thread(rows))


async def trim(connection: PipelineConnection, mappings: Sequence[MappingNumber]) -> None:
    """Delete the samples of these mappings, except the samples of the newest 1,000 events."""
    await connection.execute(SQL["trim"], list(mappings), RING)


# --- Fingerprints ---------------------------------------------------------------------------------


async def lock_fingerprints(
    connection: PipelineConnection, match_key_paths: Mapping[DestinationNumber, Collection[str]]
) -> dict[DestinationNumber, tuple[Fingerprints, int]]:
    """Return the fingerprints of destinations, and the number of erasures of each.

    The rows are locked until the transaction ends. `match_key_paths` feed match keys of a destination's
    mappings, so that they never have fingerprints.
    """
    query = SQL["lock_fingerprints"]
    rows = {row["destination"]: row for row in await connection.fetch(query, list(match_key_paths))}
    unclosed = [
        (destination, None, sorted(paths))
        for destination, paths in sorted(match_key_paths.items())
        if destination not in rows or not set(paths) <= set(rows[destination]["closed"])
    ]
    if unclosed:
        await connection.executemany(SQL["close"], unclosed)
        rows |= {row["destination"]: row for row in await connection.fetch(query, [n for n, *_ in unclosed])}
    return {
        destination: (Fingerprints(row["closed"], row["content"], row["generation"]), row["erasures"])
        for destination, row in rows.items()
    }


async def write_fingerprints(
    connection: PipelineConnection, known: Mapping[DestinationNumber, Fingerprints]
) -> None:
    """Write the fingerprints of destinations, which must be locked."""
    await connection.execute(
        SQL["write_fingerprints"], list(known), [each.stored() for each in known.values()]
    )


async def close_paths(
    connection: AsyncConnection, destination: DestinationId, match_key_paths: Collection[str]
) -> None:
    """Delete the fingerprints of a destination if new paths feed a match key, which then never have any."""
    await execute(connection, SQL["close"], None, destination, sorted(match_key_paths))


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


async def recent(connection: AsyncConnection, of: str, *, limit: int = RING) -> StoredSamples:
    """Return the samples of the newest `limit` events of a mapping, or of all mappings of a destination.

    Damaged rows are left out.
    """
    driver = await driver_of(connection)
    contents = await _contents(driver, of, limit)
    return StoredSamples(contents, await _fingerprints(driver, of), limit)


async def _contents(connection: PipelineConnection, of: str, limit: int) -> list[bytes]:
    async with damage.tolerated(connection):
        return [row["content"] for row in await connection.fetch(SQL["newest"], of, limit, True)]
    contents = []
    for row in await connection.fetch(SQL["newest"], of, limit, False):
        async with damage.tolerated(connection):
            contents.append(await connection.fetchval(SQL["content"], row["id"]))
    return [content for content in contents if content is not None]


async def _fingerprints(connection: PipelineConnection, of: str) -> Fingerprints:
    async with damage.tolerated(connection):
        row = await connection.fetchrow(SQL["fingerprints"], of)
        if row is not None:
            return Fingerprints(row["closed"], row["content"], row["generation"])
    return Fingerprints()
