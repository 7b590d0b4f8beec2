"""Count events whose Amazon eventId an earlier event had, by the kinds of both. No id is stored."""

from collections.abc import Collection, Mapping
from datetime import date
from typing import Final, NamedTuple

from app.domain.ids import BatchId, DestinationNumber, MappingNumber
from app.domain.match_quality.dedupe import Repetitions
from app.store import PipelineConnection, fetch_rows, read_sql
from app.store.database import damage

SQL: Final = read_sql(__file__)


class Repetition(NamedTuple):
    """An event that repeats the Amazon eventId of an earlier one: mapping and event type of both."""

    destination: DestinationNumber
    mapping: MappingNumber
    event_type: str
    earlier_mapping: MappingNumber
    earlier_type: str


async def add(connection: PipelineConnection, repetitions: Mapping[Repetition, int]) -> None:
    """Add these numbers of events to today's counts."""
    rows = [(*key, number) for key, number in sorted(repetitions.items())]
    await connection.execute(SQL["add"], *(list(column) for column in zip(*rows, strict=True)))
    await connection.execute(SQL["forget"], [key.destination for key in repetitions])


async def shapes(connection: PipelineConnection, ids: Collection[BatchId]) -> dict[BatchId, bytes | None]:
    """Return the shapes of these batches, without batches that are no longer stored."""
    rows = await connection.fetch(
        "SELECT s.batch, s.day FROM batch_states s WHERE s.batch = ANY($1::bigint[])", list(ids)
    )
    return await damage.read_shapes_of(connection, {BatchId(row["batch"]): row["day"] for row in rows})


async def since(
    connection: PipelineConnection, destination: DestinationNumber, day: date
) -> list[Repetitions]:
    """Return the repetitions of a destination from a UTC day on, the most frequent first."""
    return await fetch_rows(connection, Repetitions, SQL["since"], destination, day)
