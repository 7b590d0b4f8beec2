"""The gauges of what waits: read by each worker that is monitored, some times a minute."""

import asyncpg

from app.domain.destination import State
from app.domain.outcomes.status import Status, waiting_status
from app.store import waiting_events
from app.telemetry import Telemetry

READ_EVERY_S = 15.0
_STATUSES = (Status.QUEUED, Status.RETRYING, Status.HELD, Status.PARKED)


class WaitingGauges:
    """Shows how many events wait in each status, and how old the oldest is."""

    def __init__(self, pool: asyncpg.Pool, telemetry: Telemetry) -> None:
        self._pool = pool
        self._telemetry = telemetry

    async def read(self) -> None:
        """Read what waits and set the gauges. Where that takes too long, they stay as they are."""
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            await connection.execute("SET LOCAL statement_timeout = '5s'")
            found = await waiting_events.read(connection)
        events, ages = dict.fromkeys(_STATUSES, 0), dict.fromkeys(_STATUSES, 0.0)
        for one in found:
            status = waiting_status(State(one.state), failing=one.failing)
            events[status] += one.events
            ages[status] = max(ages[status], one.age_s)
        for status in _STATUSES:
            self._telemetry.waiting.labels(status.value).set(events[status])
            self._telemetry.oldest_waiting.labels(status.value).set(ages[status])
