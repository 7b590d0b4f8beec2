"""The demand of each organisation with an event limit at each API process, in events a second.

The processes exchange their demand, so that each can admit its part of the limit. When an organisation has
sent no request for a while, a process deletes its row of this organisation. Rows of processes that ended are
deleted after an hour.
"""

from collections.abc import Collection, Mapping

from app.domain.ids import OrganisationId
from app.store import PipelineConnection


async def exchange(
    connection: PipelineConnection,
    process: str,
    *,
    demand: Mapping[OrganisationId, float],
    ended: Collection[OrganisationId],
    read: Collection[OrganisationId],
) -> list[tuple[OrganisationId, float]]:
    """Store the demand of a process and delete its rows of the organisations in `ended`.

    Return (organisation, demand) of each other process, for the organisations in `read`.
    """
    rows = await connection.fetch(
        """
        WITH own AS (
          -- The demand at this process. The join leaves out organisations that do not exist.
          INSERT INTO inbound_demand (organisation_id, process, demand)
          SELECT o.id, $1, n.demand FROM unnest($2::text[], $3::real[]) AS n (id, demand)
          JOIN organisations o ON o.id = n.id
          ON CONFLICT (organisation_id, process) DO UPDATE SET demand = excluded.demand, updated_at = now()
        ), ended AS (
          -- Rows of this process to delete, and rows of processes that ended.
          DELETE FROM inbound_demand WHERE (process = $1 AND organisation_id = ANY($4::text[]))
            OR updated_at < now() - interval '1 hour'
        )
        SELECT organisation_id, demand FROM inbound_demand
        WHERE organisation_id = ANY($5::text[]) AND process <> $1
          -- A row that was not updated for six exchanges belongs to a process that ended.
          AND updated_at > now() - interval '3 seconds'
        """,
        process,
        list(demand),
        list(demand.values()),
        list(ended),
        list(read),
    )
    return [(OrganisationId(row[0]), row[1]) for row in rows]
