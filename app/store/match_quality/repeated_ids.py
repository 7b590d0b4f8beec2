"""Count events whose Amazon eventId an earlier event had, by the kinds of both, and compare lists of ids.

No id is stored.
"""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Final, NamedTuple

from app.domain.ids import BatchId, DestinationNumber, MappingNumber
from app.domain.match_quality.dedupe import Repetitions
from app.store import PipelineConnection, fetch_rows, fetch_scalar, read_sql, transposed
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
    await connection.execute(SQL["add"], *transposed(rows, 6))
    await connection.execute(SQL["forget"], [key.destination for key in repetitions])


async def shapes(connection: PipelineConnection, ids: Collection[BatchId]) -> dict[BatchId, bytes | None]:
    """Return the shapes of these batches, without batches that are no longer stored."""
    rows = await connection.fetch("SELECT batch, day FROM batch_states WHERE batch = ANY($1)", ids)
    return await damage.read_shapes_of(connection, {row["batch"]: row["day"] for row in rows})


async def since(
    connection: PipelineConnection, destination: DestinationNumber, day: date
) -> list[Repetitions]:
    """Return the repetitions of a destination from a UTC day on, the most frequent first."""
    return await fetch_rows(connection, Repetitions, SQL["since"], destination, day)


async def accepted(
    connection: PipelineConnection, destination: DestinationNumber, since: datetime, until: datetime
) -> int:
    """Return how many events a destination accepted in a time range, erased ones included."""
    return await fetch_scalar(connection, int, SQL["accepted"], destination, since, until)


async def batches_between(
    connection: PipelineConnection,
    destination: DestinationNumber,
    since: datetime,
    until: datetime,
    ids: Collection[BatchId],
) -> set[BatchId]:
    """Return those of these batches that the destination accepted in a time range."""
    rows = await connection.fetch(SQL["batches_between"], destination, since, until, list(ids))
    return {BatchId(row["batch"]) for row in rows}
