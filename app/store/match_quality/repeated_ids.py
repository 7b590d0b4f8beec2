"""Count events whose Amazon eventId an earlier event had, by the kinds of both. No id is stored."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from app.domain.ids import BatchId, DestinationNumber, MappingNumber
from app.store import PipelineConnection
from app.store.database import damage
from app.store.rows import read_row


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
    await connection.execute(
        """
        INSERT INTO repeated_event_ids AS r (destination, day, mapping, event_type, earlier_mapping,
          earlier_type, events)
        SELECT x.destination, (now() AT TIME ZONE 'UTC')::date, x.mapping, x.event_type, x.earlier_mapping,
          x.earlier_type, x.events
        FROM unnest($1::int[], $2::int[], $3::text[], $4::int[], $5::text[], $6::bigint[])
          AS x (destination, mapping, event_type, earlier_mapping, earlier_type, events)
        ON CONFLICT (destination, day, mapping, event_type, earlier_mapping, earlier_type)
        DO UPDATE SET events = r.events + excluded.events
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )
    await connection.execute(
        "DELETE FROM repeated_event_ids WHERE destination = ANY($1) "
        "AND day < (now() AT TIME ZONE 'UTC')::date - 31",
        [key.destination for key in repetitions],
    )


async def shapes(connection: PipelineConnection, ids: Collection[BatchId]) -> dict[BatchId, bytes | None]:
    """Return the shapes of these batches, without batches that are no longer stored."""
    rows = await connection.fetch(
        "SELECT s.batch, s.day FROM batch_states s WHERE s.batch = ANY($1::bigint[])", list(ids)
    )
    return await damage.read_shapes_of(connection, {BatchId(row["batch"]): row["day"] for row in rows})


@dataclass(frozen=True, slots=True)
class RepetitionCount:
    """Events of some days that repeated an Amazon eventId."""

    mapping: MappingNumber
    event_type: str
    earlier_mapping: MappingNumber
    earlier_type: str
    events: int


async def since(
    connection: PipelineConnection, destination: DestinationNumber, day: date
) -> list[RepetitionCount]:
    """Return the repetitions of a destination from a UTC day on, the most frequent first."""
    rows = await connection.fetch(
        """
        SELECT mapping, event_type, earlier_mapping, earlier_type, sum(events)::bigint AS events
        FROM repeated_event_ids WHERE destination = $1 AND day >= $2
        GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4
        """,
        destination,
        day,
    )
    return [read_row(RepetitionCount, row) for row in rows]
