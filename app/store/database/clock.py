"""The database's clock: its time without a query per event, and times that it wrote while it was ahead.

All ages are measured with the database's clock. This module measures its offset from this machine's clock
every few seconds. It measures again when wall time and monotonic time diverge: the clock was set, or the
machine was suspended.

When the database's clock was ahead and is right again, a time that was written meanwhile is later than any
that the service writes. Without a correction, events, leases and incidents would wait until the clock reaches
it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.domain.installation import MOST_SKEW_S
from app.store import PipelineConnection, execute

MEASURE_EVERY_S = 10.0
NOTICED_S = 1.0  # after a larger change of the offset, events in progress are evaluated again
_AT_ONCE = 10_000  # rows of a table that one statement corrects


@dataclass(slots=True)
class DatabaseClock:
    """The time on the database's clock, shared by all tasks of a process. `wall` gives seconds since 1970."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    offset: float = 0.0  # seconds to add to our clock
    _measured_at: float = float("-inf")
    _drift: float = 0.0  # wall minus monotonic time, when the offset was measured

    def now(self) -> datetime:
        """Return the database's time in UTC, computed from the last measured offset."""
        return datetime.fromtimestamp(self.wall() + self.offset, UTC)

    def differs_from(self, offset: float) -> bool:
        """Return whether this earlier offset differs noticeably from the current offset.

        Events that were evaluated with it must then be evaluated again.
        """
        return abs(self.offset - offset) > NOTICED_S

    @property
    def is_off(self) -> bool:
        """Return whether the offset of this machine's clock is too large for the process to be ready."""
        return abs(self.offset) > MOST_SKEW_S

    async def ensure(self, connection: PipelineConnection) -> None:
        """Measure the offset if it is too old, or if this machine's clock was changed since."""
        now = self.monotonic()
        if now - self._measured_at > MEASURE_EVERY_S or abs(self.wall() - now - self._drift) > NOTICED_S:
            await self.measure(connection)

    async def measure(self, connection: PipelineConnection) -> None:
        """Measure the offset with one query."""
        before = self.wall()
        database: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        after, now = self.wall(), self.monotonic()
        self.offset = adjusted_offset(self.offset, database=database, before=before, after=max(before, after))
        self._measured_at, self._drift = now, after - now


def adjusted_offset(offset: float, *, database: float, before: float, after: float) -> float:
    """Return the seconds to add to the process's clock to get the database's time.

    `database` is the database's clock as a query returned it. `before` and `after` are the process's clock
    before and after this query. They limit the true offset to a range as wide as the round trip. If the
    previous `offset` is outside this range, the nearest end of the range is returned. Readings are in seconds
    since 1970.
    """
    return min(max(offset, database - after), database - before)


@dataclass(frozen=True, slots=True)
class FutureTime:
    """A column whose times are at most `longest` in the future, in rows that match `where`.

    `key` identifies a row, or a few rows together.
    """

    table: str
    column: str
    key: str
    longest: timedelta
    where: str = "true"

    @property
    def statement(self) -> str:
        """The statement that sets times too far in the future to now. It skips locked rows."""
        # `now()` would be the start of the transaction, and later requests would seem to begin in the future.
        # The second more is for rows that are committed between this time and the statement's snapshot.
        seconds = self.longest.total_seconds() + 1
        wrong = f"{self.where} AND {self.column} > statement_timestamp() + make_interval(secs => {seconds})"
        return f"""
            UPDATE {self.table} SET {self.column} = statement_timestamp()
            WHERE {wrong} AND {self.key} = ANY(ARRAY(
              SELECT {self.key} FROM {self.table} WHERE {wrong} LIMIT {_AT_ONCE} FOR UPDATE SKIP LOCKED))
            """


async def correct_future_times(connection: PipelineConnection, times: Sequence[FutureTime]) -> dict[str, int]:
    """Set times that are too far in the future to now. Return the numbers of changed rows, by column."""
    changed = {}
    for each in times:
        if number := await execute(connection, each.statement):
            changed[f"{each.table}.{each.column}"] = number
    return changed
