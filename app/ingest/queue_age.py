"""Monitor queue ages: find destinations whose new events could expire before they are sent."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import asyncpg

from app.domain.admission import backlog_too_old
from app.domain.ids import OrganisationId
from app.store import waiting_events
from app.store.errors import DRIVER_ERRORS
from app.telemetry import Telemetry

CHECK_EVERY_S = 30.0


@dataclass(slots=True)
class QueueAgeMonitor:
    """Checks the oldest event of every queue twice a minute.

    `overdue` holds, for each organisation, the ids of its destinations whose oldest event was too old at the
    last check. `jitter` returns a number in [0, 1): it spreads the checks of several processes.
    """

    pool: asyncpg.Pool
    max_age: timedelta
    jitter: Callable[[], float]
    telemetry: Telemetry
    overdue: dict[OrganisationId, set[str]] = field(default_factory=dict)

    async def check(self) -> None:
        """Check the live queues of all active destinations."""
        async with self.pool.acquire() as connection:
            waits = await waiting_events.longest_waits(connection)
        overdue: dict[OrganisationId, set[str]] = {}
        for wait in waits:
            if backlog_too_old(wait.waited, self.max_age):
                overdue.setdefault(wait.organisation, set()).add(wait.destination)
        new = set[str]().union(*overdue.values()).difference(*self.overdue.values())
        if new:
            self.telemetry.log("queue_age.overdue", level=30, destinations=sorted(new)[:20])
        self.overdue.clear()
        self.overdue.update(overdue)

    async def run(self) -> None:
        """Check until cancelled. A database error keeps the last result."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S * (0.5 + self.jitter()))
            try:
                await self.check()
            except DRIVER_ERRORS as error:
                self.telemetry.failed("queue_age.check_failed", error, level=30)
