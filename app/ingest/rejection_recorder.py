"""Record rejected events without their values, up to 600 a minute for each destination.

Records are collected in memory and written twice a second, so that no response waits for them. A crash loses
the records of the last half second. It loses no count of rejections, because counts are committed with the
flush.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import asyncpg

from app.domain.event import Rejection, journey_id
from app.domain.ids import DestinationNumber
from app.ingest.pending_request import PendingRequest
from app.store import transactions
from app.store.errors import DRIVER_ERRORS
from app.store.events import rejections
from app.store.events.rejections import MOST_A_MINUTE, NewRejection
from app.telemetry import Telemetry

WRITE_EVERY_S: Final = 0.5
_MOST_WAITING: Final = 20_000  # records of all destinations; further rejections are only counted


@dataclass(slots=True)
class RejectionRecorder:
    """Collects and writes the records of one process."""

    pool: asyncpg.Pool
    telemetry: Telemetry
    _records: list[NewRejection] = field(default_factory=list)
    _minute: datetime | None = None
    _recorded: dict[DestinationNumber, int] = field(default_factory=dict)  # within the minute
    _write_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def record(self, request: PendingRequest, rejections: Sequence[Rejection | None], at: datetime) -> None:
        """Record the rejections of a request, up to the budgets of their destinations.

        `at` is the time at which they were counted.
        """
        if not any(rejections):
            return
        request_id = journey_id(request.trace.request_id)  # the caller's id may be personal
        minute = at.replace(second=0, microsecond=0)
        if minute != self._minute:
            self._minute = minute
            self._recorded.clear()
        for rejection, number in zip(rejections, request.destinations, strict=True):
            if rejection is None or number is None:
                continue
            recorded = self._recorded.get(number, 0)
            if recorded >= MOST_A_MINUTE or len(self._records) >= _MOST_WAITING:
                continue
            self._recorded[number] = recorded + 1
            self._records.append(NewRejection(number, at, request_id, rejection))

    async def run(self) -> None:
        """Write the collected records twice a second, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()

    async def write(self) -> None:
        """Write the records collected so far; return when they can be read."""
        async with self._write_lock:
            records, self._records = self._records, []
            if not records:
                return
            try:
                async with self.pool.acquire() as connection, connection.transaction():
                    await transactions.commit_without_waiting(connection)
                    await rejections.add(connection, records)
            except DRIVER_ERRORS as error:
                self.telemetry.failed("rejections.write_failed", error, level=30, records=len(records))
