"""Which destinations' queues are so long that what comes now might grow too old in them."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import asyncpg

from app.domain.admission import backlog_too_old
from app.store import waiting_events
from app.store.errors import DRIVER_ERRORS
from app.telemetry import Telemetry

LOOK_EVERY_S = 30.0


class QueueAgeMonitor:
    """Looks at the front of every queue twice a minute; `late` is what was found last.

    `jitter` in [0, 1) keeps the looks of several processes apart.
    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        max_age: timedelta,
        jitter: Callable[[], float],
        telemetry: Telemetry,
    ) -> None:
        self._pool = pool
        self._max_age = max_age
        self._jitter = jitter
        self._telemetry = telemetry
        self.late: frozenset[str] = frozenset()

    async def look(self) -> None:
        """Look once, at what is being sent; what is paused or parked waits on purpose."""
        async with self._pool.acquire() as connection:
            waits = await waiting_events.longest_waits(connection)
        late = frozenset(one for one, wait in waits.items() if backlog_too_old(wait, self._max_age))
        if late - self.late:
            self._telemetry.log("backlog.late", level=30, destinations=sorted(late - self.late)[:20])
        self.late = late

    async def run(self) -> None:
        """Look until cancelled; trouble with the database leaves what was found last."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S * (0.5 + self._jitter()))
            try:
                await self.look()
            except DRIVER_ERRORS as error:
                self._telemetry.failed("backlog.unseen", error, level=30)
