"""Read the figures of one destination's events: counts, the oldest waiting event, its lane and failures."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from app.domain.ids import DestinationNumber
from app.domain.outcomes.status import CountTotals
from app.store import PipelineConnection, read_row, read_sql
from app.store.database import damage

SQL: Final = read_sql(__file__)


@dataclass(frozen=True, slots=True)
class DestinationFigures:
    """A destination's figures. `rejected` has (code, reason, n), `dead` has (reason, n)."""

    state: str
    totals: CountTotals
    learned_rate: float | None
    breaker: str
    error_rate: float
    requests_per_second: float
    burst: int
    lane_owned: bool
    shared_account: bool
    rejected: tuple[tuple[str, str, int], ...]
    dead: tuple[tuple[str, int], ...]
    oldest_waiting: datetime | None = None
    earliest_expiry: datetime | None = None


async def destination_figures(
    connection: PipelineConnection, number: DestinationNumber
) -> DestinationFigures | None:
    """Read the counts of a destination in one statement, so that they add up.

    `oldest_waiting` and `earliest_expiry` are None when the states of its batches cannot be read.
    """
    row = await connection.fetchrow(SQL["destination_figures"], number)
    if row is None:
        return None
    oldest: asyncpg.Record | None = None
    async with damage.tolerated(connection):
        oldest = await connection.fetchrow(SQL["oldest"], number)
    return read_row(
        DestinationFigures,
        row,
        **dict(oldest or {}),
        totals=json.loads(row["totals"]),
        rejected=[tuple(entry.values()) for entry in json.loads(row["rejected"])],
        dead=[tuple(entry.values()) for entry in json.loads(row["dead"])],
    )
