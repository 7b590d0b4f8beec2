"""Usage per organisation and day: accepted events, requests to Amazon, stored bytes.

All three are sums over rows of the pipeline, so they cost nothing when an event is accepted. The requests and
bytes of a day are stored before its partitions are dropped; the counts of events are never dropped.
"""

from collections.abc import Sequence
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
