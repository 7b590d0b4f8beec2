"""Outcomes of events over time: counts per destination in time buckets of several widths.

The pipeline counts events per day (`counts`). Every few seconds the monitor adds the increase of these counts
to the current bucket of each width. Charts therefore cost the pipeline nothing. Readers add the increase
since the last recording.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection, read_row, read_sql

SQL: Final = read_sql(__file__)

# The retention of buckets by their width. Each time range of the console reads one width.
RETENTION: Final[Mapping[timedelta, timedelta]] = {
    timedelta(minutes=1): timedelta(hours=2, minutes=5),  # an hour and the hour before it
    timedelta(minutes=5): timedelta(hours=7),
    timedelta(minutes=15): timedelta(hours=26),
    # Incidents of the kind `volume_drop` and comparisons with the time before read these buckets.
    timedelta(hours=1): timedelta(days=15),
    timedelta(hours=3): timedelta(days=8),
    timedelta(days=1): timedelta(days=32),
}
_WIDTHS: Final = [int(width.total_seconds()) for width in RETENTION]
_ORIGIN: Final = datetime(2000, 1, 1, tzinfo=UTC)  # a bucket of every width begins at this time


async def record(connection: PipelineConnection, waiting: Mapping[DestinationNumber, float]) -> None:
    """Add the changes since the last recording to the current buckets.

    `waiting` is the age of the oldest waiting event of each destination, in seconds.
    """
    await connection.execute(SQL["record"], list(waiting), list(waiting.values()), _WIDTHS)


def widest_buckets(since: datetime, width: timedelta) -> list[tuple[timedelta, datetime, datetime | None]]:
    """Return the parts (bucket width, begin, end) that cover the time from `since` on with the fewest rows.

    `since` is the start of a bucket of this width; the end of the last part is None. Buckets of every width
    count the same events, so the sums are equal.
    """
    parts: list[tuple[timedelta, datetime, datetime | None]] = []
    for wider in sorted(each for each in RETENTION if each > width):
        begin = since + (_ORIGIN - since) % wider
        if begin > since:
            parts.append((width, since, begin))
        width, since = wider, begin
    return [*parts, (width, since, None)]


async def forget(connection: PipelineConnection) -> None:
    """Delete buckets and totals that are no longer read."""
    await connection.execute(SQL["forget"], _WIDTHS, list(RETENTION.values()))
    await connection.execute(SQL["forget_totals"])


@dataclass(frozen=True, slots=True)
class Period:
    """A past time from the start of a bucket of this width to the start of a later one."""

    width: timedelta
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class OutcomeBucket:
    """Outcomes of a destination's events in the bucket that begins at `at`.

    `failed_requests` include 429 responses. `retried` counts the events of failed requests.
    `oldest_waiting_seconds` is the highest age of a waiting event, None if none waited. In a bucket of a
    minute it is the age that was recorded last.
    """

    destination: DestinationNumber
    at: datetime
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    delivered: int = 0
    dead: int = 0
    expired: int = 0
    requests: int = 0
    failed_requests: int = 0
    retried: int = 0
    oldest_waiting_seconds: float | None = None
    learned_rate: float | None = None

    @property
    def failed(self) -> int:
        """Return the number of events that failed permanently or expired."""
        return self.dead + self.expired


async def buckets(
    connection: PipelineConnection,
    destinations: Sequence[DestinationNumber],
    *,
    width: timedelta,
    since: datetime,
) -> dict[DestinationNumber, list[OutcomeBucket]]:
    """Return the buckets of each destination from `since` on, oldest first, without empty ones."""
    rows = await connection.fetch(SQL["buckets"], list(destinations), int(width.total_seconds()), since)
    found: dict[DestinationNumber, list[OutcomeBucket]] = {number: [] for number in destinations}
    for row in rows:
        found[row["destination"]].append(read_row(OutcomeBucket, row))
    return found


_SUMS: Final = ("accepted", "duplicates", "rejected", "delivered", "dead", "expired")


async def total_between(
    connection: PipelineConnection, destination: DestinationNumber, period: Period
) -> OutcomeBucket:
    """Return the sums of a destination's stored buckets in a period."""
    found = await buckets(connection, [destination], width=period.width, since=period.since)
    past = [each for each in found[destination] if each.at < period.until]
    sums = {name: sum(getattr(each, name) for each in past) for name in _SUMS}
    return OutcomeBucket(destination, period.since, **sums)
