"""Notify workers of stored events: after the commit, on another connection, a few times a second."""

import asyncio

import asyncpg

from app.domain.ids import LaneId
from app.store import lanes
from app.store.errors import DRIVER_ERRORS
from app.telemetry import Telemetry


class Notifier:
    """Collects the lanes of stored events and sends one notification for many flushes.

    If a notification is lost, its events wait until the worker polls the lane.
    """

    def __init__(self, *, pool: asyncpg.Pool, interval_s: float, telemetry: Telemetry) -> None:
        self._pool = pool
        self._interval_s = interval_s
        self._telemetry = telemetry
        self._waiting: dict[LaneId, int] = {}
        self._has_events = asyncio.Event()

    def add(self, waiting: dict[LaneId, int]) -> None:
        """Add committed events, counted by lane."""
        for lane, events in waiting.items():
            self._waiting[lane] = self._waiting.get(lane, 0) + events
        self._has_events.set()

    async def run(self) -> None:
        """Send notifications until cancelled, at most one per `interval_s`."""
        while True:
            await self._has_events.wait()
            self._has_events.clear()
            waiting, self._waiting = self._waiting, {}
            try:
                async with self._pool.acquire() as connection:
                    await lanes.notify_waiting(connection, waiting)
            except DRIVER_ERRORS as error:
                self._telemetry.failed("notify.failed", error, level=30)
            await asyncio.sleep(self._interval_s)
