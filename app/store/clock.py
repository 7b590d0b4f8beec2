"""The database's clock, as far as a process can know it without asking for every event.

Ages are judged by one clock, the database's, whatever the clock of this machine says. Its distance from ours
is measured on a connection that is at hand, again after some seconds, and at once after our clock was set or
the machine was suspended: then wall time and monotonic time no longer move together.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from app.domain.clock_skew import MOST_SKEW_S, NOTICED_S, adjusted_offset
from app.store import PipelineConnection

MEASURE_EVERY_S = 10.0


class DatabaseClock:
    """Tells the time on the database's clock. One per process; `wall` is in seconds since 1970."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._measured_at = float("-inf")
        self._drift = 0.0  # of wall from monotonic time, when it was measured
        self.offset = 0.0  # seconds to add to our clock

    def now(self) -> datetime:
        """Return the time, UTC."""
        return datetime.fromtimestamp(self._wall() + self.offset, UTC)

    def differs_from(self, offset: float) -> bool:
        """Tell whether what was judged by an offset must be judged again by the present one."""
        return abs(self.offset - offset) > NOTICED_S

    @property
    def is_off(self) -> bool:
        """Tell whether our clock is further from the database's than a healthy machine's is."""
        return abs(self.offset) > MOST_SKEW_S

    @property
    def is_stale(self) -> bool:
        """Tell whether the offset must be measured before anything is judged by it."""
        now = self._monotonic()
        return now - self._measured_at > MEASURE_EVERY_S or abs(self._wall() - now - self._drift) > NOTICED_S

    async def ensure(self, connection: PipelineConnection) -> None:
        """Measure the offset if it is stale: one round trip in some seconds, whatever is judged meanwhile."""
        if self.is_stale:
            await self.measure(connection)

    async def measure(self, connection: PipelineConnection) -> None:
        """Measure the offset now."""
        before = self._wall()
        database: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        after, now = self._wall(), self._monotonic()
        self.offset = adjusted_offset(self.offset, database=database, before=before, after=max(before, after))
        self._measured_at, self._drift = now, after - now
