"""The events that destinations receive, for incidents: a step of every five seconds, and hourly volumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection
from app.store.rows import read_row
from app.store.sql import read_sql

SQL: Final = read_sql(__file__)

_STEP = timedelta(seconds=5)  # the time that a row of `intake_steps` covers
_KEEP_STEPS = timedelta(minutes=90)


async def record_intake(connection: PipelineConnection) -> None:
    """Add the events received since the last call to `intake_steps`, in the caller's transaction."""
    await connection.execute(SQL["record_intake"], _STEP)


async def forget_intake(connection: PipelineConnection) -> None:
    """Delete the rows of `intake_steps` and `intake_totals` that are no longer read."""
    await connection.execute("DELETE FROM intake_steps WHERE at < now() - $1::interval", _KEEP_STEPS)
    await connection.execute("DELETE FROM intake_totals WHERE day < (now() AT TIME ZONE 'UTC')::date - 2")


@dataclass(frozen=True, slots=True)
class IntakeFacts:
    """The time of the last event of a destination, and the events that it received in the window before.

    `rejected_for` is the most common reason of the rejections in this window.
    """

    received_at: datetime
    received: int
    rejected: int
    rejected_for: str | None


async def intake(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber], windows: Sequence[float]
) -> dict[DestinationNumber, IntakeFacts]:
    """Return the events that each of these destinations received last.

    `windows` has the length of each destination's window in seconds. A destination that received no event for
    more than an hour has no entry.
    """
    rows = await connection.fetch(SQL["intake"], list(numbers), list(windows), _STEP)
    return {DestinationNumber(row["number"]): read_row(IntakeFacts, row) for row in rows}


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """The events of the last complete hour, and of the same hour on up to fourteen earlier days.

    `days` is the number of days for which the destination has data.
    """

    last_hour: int
    same_hours: tuple[int, ...]
    days: int


async def volumes(connection: PipelineConnection) -> dict[DestinationNumber, VolumeFacts]:
    """Return the hourly volumes of each destination that has data of at least seven days."""
    rows = await connection.fetch(SQL["volumes"])
    return {
        DestinationNumber(row["destination"]): VolumeFacts(
            row["last_hour"],
            # An hour without a row had no event.
            (*row["same_hours"], *[0] * (row["hours"] - len(row["same_hours"]))),
            row["days"],
        )
        for row in rows
    }
