"""Gauges of waiting events, read several times a minute by each worker with a metrics port."""

import asyncpg

from app.domain.destination import State
from app.domain.outcomes.status import Status, waiting_status
from app.store import waiting_events
from app.telemetry import Telemetry

READ_EVERY_S = 15.0
_STATUSES = (Status.QUEUED, Status.RETRYING, Status.HELD, Status.PARKED)


class WaitingGauges:
    """Sets how many events wait in each status, and the age of the oldest."""

    def __init__(self, pool: asyncpg.Pool, telemetry: Telemetry) -> None:
        self._pool = pool
        self._telemetry = telemetry

    async def read(self) -> None:
        """Read the waiting events and set the gauges; a read that times out leaves them unchanged."""
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            await connection.execute("SET LOCAL statement_timeout = '5s'")
            rows = await waiting_events.read(connection)
        events, ages = dict.fromkeys(_STATUSES, 0), dict.fromkeys(_STATUSES, 0.0)
        for row in rows:
            status = waiting_status(State(row.state), failing=row.failing)
            events[status] += row.events
            ages[status] = max(ages[status], row.age_s)
        for status in _STATUSES:
            self._telemetry.waiting.labels(status.value).set(events[status])
            self._telemetry.oldest_waiting.labels(status.value).set(ages[status])
