"""Rejected events by journey and node. Accepted events are counted from their batches."""

from collections.abc import Mapping
from datetime import datetime

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection

JourneyKey = tuple[DestinationNumber, str, str]
"""The destination, the id of the journey and of the node; '' for none."""


async def add_rejected(
    connection: PipelineConnection, writer: int, rejected: Mapping[JourneyKey, int]
) -> None:
    """Count rejected events under `writer`, a number that few processes share."""
    if not rejected:
        return
    # In order of the keys, so that writers that share rows cannot deadlock.
    rows = [(*key, events) for key, events in sorted(rejected.items())]
    await connection.execute(
        """
        INSERT INTO journey_rejections AS r
          (organisation_id, destination, day, writer, journey_id, node_id, rejected)
        SELECT d.organisation_id, x.destination, (now() AT TIME ZONE 'UTC')::date, $1, x.journey_id,
          x.node_id, x.rejected
        FROM unnest($2::int[], $3::text[], $4::text[], $5::bigint[])
          WITH ORDINALITY AS x (destination, journey_id, node_id, rejected, position)
        JOIN destinations d ON d.number = x.destination
        ORDER BY x.position
        ON CONFLICT (destination, day, writer, journey_id, node_id)
        DO UPDATE SET rejected = r.rejected + excluded.rejected
        """,
        writer,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def rejected(
    connection: PipelineConnection,
    number: DestinationNumber,
    *,
    journey_id: str | None,
    node_id: str | None,
) -> int:
    """Return the number of rejected events of a journey or node."""
    found: int = await connection.fetchval(
        "SELECT coalesce(sum(rejected), 0)::bigint FROM journey_rejections "
        "WHERE organisation_id = acting_organisation() AND destination = $1 "
        "AND ($2::text IS NULL OR journey_id = $2) AND ($3::text IS NULL OR node_id = $3)",
        number,
        journey_id,
        node_id,
    )
    return found


async def rejected_by_node(
    connection: PipelineConnection, number: DestinationNumber, *, since: datetime
) -> dict[tuple[str, str], int]:
    """Return the numbers of rejected events by journey and node, since the day (UTC) of a time."""
    rows = await connection.fetch(
        "SELECT journey_id, node_id, sum(rejected)::bigint AS events FROM journey_rejections "
        "WHERE organisation_id = acting_organisation() AND destination = $1 "
        "AND day >= ($2::timestamptz AT TIME ZONE 'UTC')::date GROUP BY 1, 2",
        number,
        since,
    )
    return {(row["journey_id"], row["node_id"]): row["events"] for row in rows}
