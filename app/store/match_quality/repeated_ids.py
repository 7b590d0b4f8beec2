"""Count events whose Amazon eventId an earlier event had, by the kinds of both. No id is stored."""

from collections.abc import Collection, Mapping
from datetime import date
from typing import NamedTuple

from app.domain.ids import BatchId, DestinationNumber, MappingNumber
from app.domain.match_quality.dedupe import Repetitions
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


async def since(
    connection: PipelineConnection, destination: DestinationNumber, day: date
) -> list[Repetitions]:
    """Return the repetitions of a destination from a UTC day on, the most frequent first."""
    rows = await connection.fetch(
        """
        SELECT m.id AS mapping, r.event_type, e.id AS earlier_mapping, r.earlier_type,
          sum(r.events)::bigint AS events
        FROM repeated_event_ids r
        JOIN mappings m ON m.number = r.mapping JOIN mappings e ON e.number = r.earlier_mapping
        WHERE r.destination = $1 AND r.day >= $2
        GROUP BY 1, 2, 3, 4, r.mapping, r.earlier_mapping ORDER BY 5 DESC, r.mapping, 2, r.earlier_mapping, 4
        """,
        destination,
        day,
    )
    return [read_row(Repetitions, row) for row in rows]
