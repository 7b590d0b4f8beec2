"""Telling workers that events wait: after the commit, from another connection, some times a second."""

import asyncio

import asyncpg

from app.domain.ids import LaneId
from app.store import lanes
from app.store.errors import DRIVER_ERRORS
from app.telemetry import Telemetry


class Notifier:
    """Gathers what flushes stored and tells it in one notice; a lost notice costs one poll."""

    def __init__(self, *, pool: asyncpg.Pool, every: float, telemetry: Telemetry) -> None:
        self._pool = pool
        self._every = every
        self._telemetry = telemetry
        self._waiting: dict[LaneId, int] = {}
        self._something = asyncio.Event()

    def stored(self, waiting: dict[LaneId, int]) -> None:
        """Take note of events that were committed, by lane."""
        for lane, events in waiting.items():
            self._waiting[lane] = self._waiting.get(lane, 0) + events
        self._something.set()

    async def run(self) -> None:
        """Announce until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            waiting, self._waiting = self._waiting, {}
            try:
                async with self._pool.acquire() as connection:
                    await lanes.announce(connection, waiting)
            except DRIVER_ERRORS as error:
                self._telemetry.failed("notice.failed", error, level=30)
            await asyncio.sleep(self._every)
