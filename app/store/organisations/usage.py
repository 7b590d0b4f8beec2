"""Usage of organisations: what each used on a day, and what it demands now of each API process.

The usage of a day is accepted events, requests to Amazon and stored bytes. All three are sums over rows of
the pipeline, so they cost nothing when an event is accepted. The requests and bytes of a day are stored
before its partitions are dropped; the counts of events are never dropped.

The demand is that of an organisation with an event limit, in events a second. The processes exchange their
demand, so that each can admit its part of the limit. When an organisation has sent no request for a while, a
process deletes its row of this organisation. Rows of processes that ended are deleted after an hour.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from app.domain.ids import OrganisationId
from app.store import PipelineConnection, fetch_rows, read_sql

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class DayUsage:
    """The usage of an organisation on one day (UTC). `bytes` is the size of its stored conversions."""

    day: date
    events: int
    requests: int
    bytes: int


async def record_day(connection: PipelineConnection, day: date) -> None:
    """Store the usage of a day before its partitions are dropped. Repeating it changes nothing."""
    await connection.execute(SQL["record_day"], day)


async def by_day(
    connection: PipelineConnection, organisation: OrganisationId, first: date, last: date
) -> Sequence[DayUsage]:
    """Return the usage of each day from `first` to `last`, idle days included."""
    return await fetch_rows(connection, DayUsage, SQL["by_day"], organisation, first, last)


async def exchange_demand(
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
        SQL["exchange_demand"], process, list(demand), list(demand.values()), list(ended), list(read)
    )
    return [(OrganisationId(row[0]), row[1]) for row in rows]
