"""Read the stored batches of an organisation in pages, to find a person's events."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from app.domain.ids import BatchId, DestinationId
from app.store import PipelineConnection, batches
from app.store.privacy import erasures
from app.store.sql import read_sql

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class ReadableBatch:
    """A batch that still has a data key. `exceptions` has the status of each event that has its own row.

    `content` is encrypted with `data_key`, which is itself encrypted. Both are None if they cannot be read.
    """

    id: BatchId
    destination: DestinationId | None
    disposition: str | None
    exceptions: dict[int, str]
    data_key: bytes | None = field(repr=False)
    content: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class BatchPage:
    """A page of batches in order of id, the number of unreadable batches, and the last id of the page."""

    batches: list[ReadableBatch]
    unreadable: int
    to: int


async def next_batches(
    connection: PipelineConnection, *, after: int, accepted_until: datetime, limit: int
) -> BatchPage | None:
    """Return the organisation's batches among the next `limit` batches with a data key; None at the end."""
    page = await erasures.next_batches(connection, after=after, accepted_until=accepted_until, limit=limit)
    if page is None:
        return None
    contents = await batches.read(connection, [(batch.id, batch.day) for batch in page.batches])
    rows = await connection.fetch(
        SQL["next_batches"], [batch.id for batch in page.batches], [batch.day for batch in page.batches]
    )
    found = []
    for row in rows:
        data_key, content, _ = contents.get(row["batch"], (None, None, None))
        exceptions = dict(zip(row["places"] or (), row["statuses"] or (), strict=True))
        found.append(
            ReadableBatch(row["batch"], row["destination"], row["disposition"], exceptions, data_key, content)
        )
    return BatchPage(found, page.unreadable, page.to)


async def pending_erasures(connection: PipelineConnection) -> list[tuple[str, bytes]]:
    """Return the ids and encrypted search values of the organisation's unfinished erasures."""
    rows = await connection.fetch(SQL["pending_erasures"])
    return [(row["id"], row["sealed"]) for row in rows]
