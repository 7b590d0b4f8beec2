"""The demand of each organisation with an event limit at each API process, in events a second.

The processes exchange their demand, so that each can admit its part of the limit. When an organisation has
sent no request for a while, a process deletes its row of this organisation. Rows of processes that ended are
deleted after an hour.
"""

from collections.abc import Collection, Mapping
from typing import Final

from app.domain.ids import OrganisationId
from app.store import PipelineConnection, read_sql

SQL: Final = read_sql(__file__)


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
        SQL["exchange"], process, list(demand), list(demand.values()), list(ended), list(read)
    )
    return [(OrganisationId(row[0]), row[1]) for row in rows]
