"""Read what a reconciliation counts: stored batches, rejected events, repeated ids, mapping versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import msgspec

from app.domain.ids import BatchId, DestinationNumber, MappingNumber
from app.store import PipelineConnection
from app.store.database.partitions import STORED
from app.store.events.batches import STATE, BatchRow, with_shapes
from app.store.mappings import Document
from app.store.rows import MAX_BIGINT, read_row


async def batches_of_days(
    connection: PipelineConnection,
    destination: DestinationNumber,
    *,
    since: datetime,
    until: datetime,
    before: BatchId | None,
    limit: int,
) -> list[BatchRow]:
    """Return batches that may hold events of a time range, by the events' own times, newest first."""
    rows = await connection.fetch(
        f"""
        SELECT {STATE} FROM batch_states s
        WHERE s.destination = $1 AND s.batch < coalesce($4, {MAX_BIGINT}) AND {STORED}
          AND s.last_event >= $2 AND s.first_event < $3
        ORDER BY s.batch DESC LIMIT $5
        """,
        destination,
        since,
        until,
        before,
        limit,
    )
    return await with_shapes(connection, rows)


@dataclass(frozen=True, slots=True)
class UnsentEvents:
    """Events of a mapping that a day's receipts did not accept, because of consent or of a repeated id."""

    day: date
    mapping: MappingNumber
    without_consent: int
    repeated_ids: int


async def unsent(
    connection: PipelineConnection, destination: DestinationNumber, *, first: date, last: date
) -> list[UnsentEvents]:
    """Return, by day of receipt and mapping, the events that were rejected for consent or a repeated id."""
    rows = await connection.fetch(
        """
        SELECT day, mapping,
          coalesce(sum(rejected) FILTER (WHERE code = 'CONSENT_NOT_PROVIDED'), 0)::bigint AS without_consent,
          coalesce(sum(rejected) FILTER (WHERE reason = 'event_id_conflict'), 0)::bigint AS repeated_ids
        FROM rejections WHERE destination = $1 AND day BETWEEN $2 AND $3
          AND (code = 'CONSENT_NOT_PROVIDED' OR reason = 'event_id_conflict')
        GROUP BY day, mapping
        """,
        destination,
        first,
        last,
    )
    return [read_row(UnsentEvents, row) for row in rows]


async def mapped_duplicates(
    connection: PipelineConnection, destination: DestinationNumber, *, first: date, last: date
) -> list[tuple[date, BatchId, int]]:
    """Return (day, batch, place) of the accepted event, for each event that repeated its Amazon eventId."""
    rows = await connection.fetch(
        """
        SELECT d.day, d.batch, d.place FROM mapped_duplicates d JOIN batch_states s ON s.batch = d.batch
        WHERE s.destination = $1 AND d.day BETWEEN $2 AND $3
        """,
        destination,
        first,
        last,
    )
    return [(row["day"], BatchId(row["batch"]), row["place"]) for row in rows]


@dataclass(frozen=True, slots=True)
class MappingVersion:
    """A published version of a mapping. `is_current` says that events use it."""

    mapping: MappingNumber
    version: int
    document: Document
    is_current: bool


async def versions(connection: PipelineConnection, destination: DestinationNumber) -> list[MappingVersion]:
    """Return every published version of a destination's mappings, archived ones included."""
    rows = await connection.fetch(
        """
        SELECT m.number AS mapping, v.version, v.document::text AS document,
          v.version = m.published_version AS is_current
        FROM mapping_versions v JOIN mappings m ON m.id = v.mapping
        JOIN destinations d ON d.id = m.destination
        WHERE d.number = $1 AND m.organisation_id = acting_organisation()
        """,
        destination,
    )
    return [
        MappingVersion(
            row["mapping"], row["version"], msgspec.json.decode(row["document"]), bool(row["is_current"])
        )
        for row in rows
    ]


async def dataset_name(connection: PipelineConnection, destination: DestinationNumber) -> str | None:
    """Return the name of the data set at Amazon that a destination's conversions go to."""
    name: str | None = await connection.fetchval(
        "SELECT dataset_name FROM destinations WHERE number = $1 AND organisation_id = acting_organisation()",
        destination,
    )
    return name


async def places(
    connection: PipelineConnection, destination: DestinationNumber, ids: Sequence[BatchId]
) -> list[BatchRow]:
    """Return these batches of a destination, with their shapes."""
    rows = await connection.fetch(
        f"SELECT {STATE} FROM batch_states s WHERE s.destination = $1 AND s.batch = ANY($2::bigint[]) "
        f"AND {STORED}",
        destination,
        list(ids),
    )
    return await with_shapes(connection, rows)
