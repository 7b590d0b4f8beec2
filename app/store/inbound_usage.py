"""How many events each API process received of organisations with a limit, so that they count together.

A row grows while a process receives events of an organisation. The process deletes it when none came for a
while; rows of processes that ended are deleted after an hour.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from app.domain.ids import OrganisationId
from app.store import PipelineConnection


@dataclass(frozen=True, slots=True)
class ForeignUsage:
    """The events of an organisation that another process received since its row began."""

    organisation: OrganisationId
    process: str
    events: int


async def exchange(
    connection: PipelineConnection,
    process: str,
    *,
    received: Mapping[OrganisationId, int],
    idle: Collection[OrganisationId],
    read: Collection[OrganisationId],
) -> list[ForeignUsage]:
    """Store what this process received, forget the `idle` organisations, and return what others received."""
    rows = await connection.fetch(
        """
        WITH own AS (
          -- What this process received, of organisations that exist.
          INSERT INTO inbound_usage (organisation_id, process, events)
          SELECT o.id, $1, n.events FROM unnest($2::text[], $3::bigint[]) AS n (id, events)
          JOIN organisations o ON o.id = n.id
          ON CONFLICT (organisation_id, process) DO UPDATE SET events = excluded.events, updated_at = now()
        ), ended AS (
          -- Of idle organisations, and of processes that ended without deleting theirs.
          DELETE FROM inbound_usage WHERE (process = $1 AND organisation_id = ANY($4::text[]))
            OR updated_at < now() - interval '1 hour'
        )
        SELECT organisation_id, process, events FROM inbound_usage
        WHERE organisation_id = ANY($5::text[]) AND process <> $1
        """,
        process,
        list(received),
        list(received.values()),
        list(idle),
        list(read),
    )
    return [ForeignUsage(OrganisationId(row[0]), row[1], row[2]) for row in rows]
