"""Count rejected events and duplicates by journey and node.

Accepted events are counted from their batches.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection

JourneyKey = tuple[DestinationNumber, str, str]
"""The destination, the id of the journey and the id of its node. An id is '' if the event had none."""


class JourneyCounts(NamedTuple):
    """The numbers of a journey node's events that are in no batch."""

    rejected: int
    duplicates: int


async def add(
    connection: PipelineConnection, writer: int, journeys: Mapping[JourneyKey, JourneyCounts]
) -> None:
    """Add these numbers to the rows of `writer`, a number that few processes share."""
    if not journeys:
        return
    # In order of keys, so that two processes that share a number cannot deadlock.
    rows = [(*key, *added) for key, added in sorted(journeys.items())]
    await connection.execute(
        """
        INSERT INTO journey_counts AS c
          (organisation_id, destination, day, writer, journey_id, node_id, rejected, duplicates)
        SELECT d.organisation_id, x.destination, (now() AT TIME ZONE 'UTC')::date, $1, x.journey_id,
          x.node_id, x.rejected, x.duplicates
        FROM unnest($2::int[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
          WITH ORDINALITY AS x (destination, journey_id, node_id, rejected, duplicates, position)
        JOIN destinations d ON d.number = x.destination
        ORDER BY x.position
        ON CONFLICT (destination, day, writer, journey_id, node_id)
        DO UPDATE SET rejected = c.rejected + excluded.rejected,
          duplicates = c.duplicates + excluded.duplicates
        """,
        writer,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def read(
    connection: PipelineConnection, number: DestinationNumber, *, journey_id: str | None, node_id: str | None
) -> JourneyCounts:
    """Return the numbers of rejected events and duplicates of a journey, a node, or all journeys."""
    row = await connection.fetchrow(
        "SELECT coalesce(sum(rejected), 0)::bigint AS rejected, "
        "coalesce(sum(duplicates), 0)::bigint AS duplicates FROM journey_counts "
        "WHERE organisation_id = acting_organisation() AND destination = $1 "
        "AND ($2::text IS NULL OR journey_id = $2) AND ($3::text IS NULL OR node_id = $3)",
        number,
        journey_id,
        node_id,
    )
    assert row is not None
    return JourneyCounts(row["rejected"], row["duplicates"])


async def rejected_by_node(
    connection: PipelineConnection, number: DestinationNumber, *, since: datetime
) -> dict[tuple[str, str], int]:
    """Return the number of rejected events by (journey, node), from the day (UTC) of `since` on."""
    rows = await connection.fetch(
        "SELECT journey_id, node_id, sum(rejected)::bigint AS events FROM journey_counts "
        "WHERE organisation_id = acting_organisation() AND destination = $1 "
        "AND day >= ($2::timestamptz AT TIME ZONE 'UTC')::date AND rejected > 0 GROUP BY 1, 2",
        number,
        since,
    )
    return {(row["journey_id"], row["node_id"]): row["events"] for row in rows}
