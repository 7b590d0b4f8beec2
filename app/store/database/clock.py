"""The database's clock, without a query per event.

All ages are measured with the database's clock. This module measures its offset from this machine's clock
every few seconds. It measures again when wall time and monotonic time diverge: the clock was set, or the
machine was suspended.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from app.domain.clock_skew import MOST_SKEW_S, NOTICED_S, adjusted_offset
from app.store import PipelineConnection

MEASURE_EVERY_S = 10.0


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
