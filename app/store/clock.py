"""The database's clock, without a query per event.

All ages are measured with the database's clock. Its offset from this machine's clock is measured every few
seconds. It is measured again when wall and monotonic time diverge, because the clock was set or the machine
was suspended.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from app.domain.clock_skew import MOST_SKEW_S, NOTICED_S, adjusted_offset
from app.store import PipelineConnection

MEASURE_EVERY_S = 10.0


class DatabaseClock:
    """The time on the database's clock. One per process; `wall` is in seconds since 1970."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._measured_at = float("-inf")
        self._drift = 0.0  # wall minus monotonic time, when the offset was measured
        self.offset = 0.0  # seconds to add to our clock

    def now(self) -> datetime:
        """Return the time, UTC."""
        return datetime.fromtimestamp(self._wall() + self.offset, UTC)

    def differs_from(self, offset: float) -> bool:
        """Return whether events evaluated with this offset must be evaluated again with the current one."""
        return abs(self.offset - offset) > NOTICED_S

    @property
    def is_off(self) -> bool:
        """Return whether the offset of this machine's clock is too large for the process to be ready."""
        return abs(self.offset) > MOST_SKEW_S

    @property
    def is_stale(self) -> bool:
        """Return whether the offset must be measured before it is used."""
        now = self._monotonic()
        return now - self._measured_at > MEASURE_EVERY_S or abs(self._wall() - now - self._drift) > NOTICED_S

    async def ensure(self, connection: PipelineConnection) -> None:
        """Measure the offset if it is stale: one round trip every few seconds."""
        if self.is_stale:
            await self.measure(connection)

    async def measure(self, connection: PipelineConnection) -> None:
        """Measure the offset now."""
        before = self._wall()
        database: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        after, now = self._wall(), self._monotonic()
        self.offset = adjusted_offset(self.offset, database=database, before=before, after=max(before, after))
        self._measured_at, self._drift = now, after - now
