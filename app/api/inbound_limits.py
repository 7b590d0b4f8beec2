"""The limits on events a second of organisations, counted over all API processes.

Each process counts its own events at once. Twice a second it stores how many it received and reads what the
others received. So over some seconds the limit holds for the deployment; at the beginning of a burst each
process can admit up to the full limit.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

from app.domain.ids import OrganisationId
from app.domain.pacing.inbound_limit import InboundLimit
from app.store import PipelineConnection, inbound_usage
from app.store.errors import DRIVER_ERRORS
from app.store.organisation_scope import PipelinePool
from app.telemetry import Telemetry

EXCHANGE_EVERY_S: Final = 0.5
# After so long without an event of an organisation here, this process stops counting for it.
IDLE_S: Final = 60.0


class InboundLimits:
    """The limits of the organisations that send events to this process. `monotonic` is in seconds."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._process = secrets.token_hex(8)
        self._limits: dict[OrganisationId, InboundLimit] = {}
        self._received: dict[OrganisationId, int] = {}
        self._received_at: dict[OrganisationId, float] = {}
        self._stored: dict[OrganisationId, int] = {}
        self._read: frozenset[OrganisationId] = frozenset()  # by the last exchange
        self._foreign: dict[tuple[OrganisationId, str], int] = {}

    def wait(self, organisation: OrganisationId, rate: int | None) -> float:
        """Return the seconds until a request is admitted; 0 or less for now."""
        if rate is None:
            self._limits.pop(organisation, None)
            return 0.0
        now = self._monotonic()
        limit = self._limits.get(organisation)
        if limit is None or limit.rate != rate:
            limit = self._limits[organisation] = InboundLimit(rate, now)
            self._received.setdefault(organisation, 0)
            self._received_at.setdefault(organisation, now)
        return limit.wait(now)

    def charge(self, organisation: OrganisationId, events: int) -> None:
        """Count events that were received here, if the organisation has a limit."""
        if (limit := self._limits.get(organisation)) is not None:
            now = self._monotonic()
            limit.take(events, now)
            self._received[organisation] += events
            self._received_at[organisation] = now

    async def exchange(self, connection: PipelineConnection) -> None:
        """Store what was received here, and count what other processes received."""
        now = self._monotonic()
        idle = {id_ for id_, at in self._received_at.items() if now - at > IDLE_S or id_ not in self._limits}
        changed = {
            id_: events
            for id_, events in self._received.items()
            if id_ not in idle and events != self._stored.get(id_)
        }
        read = frozenset(self._received.keys() - idle)
        if not read and not idle:
            return
        rows = await inbound_usage.exchange(connection, self._process, received=changed, idle=idle, read=read)
        self._stored |= changed
        self._count({(row.organisation, row.process): row.events for row in rows})
        self._read = read
        for id_ in idle:
            self._forget(id_, reported=self._stored.pop(id_, 0), before=now)

    def _forget(self, organisation: OrganisationId, *, reported: int, before: float) -> None:
        """Stop counting for an organisation, unless events came meanwhile: they begin a new row."""
        if self._received_at[organisation] > before:
            self._received[organisation] -= reported
            return
        for members in (self._limits, self._received, self._received_at):
            members.pop(organisation, None)

    def _count(self, foreign: dict[tuple[OrganisationId, str], int]) -> None:
        now = self._monotonic()
        for (organisation, process), events in foreign.items():
            # What stood there before the first exchange is past.
            new = events - self._foreign.get((organisation, process), 0) if organisation in self._read else 0
            if new > 0 and (limit := self._limits.get(organisation)) is not None:
                limit.take(new, now)
        self._foreign = foreign

    async def run(self, pool: PipelinePool, telemetry: Telemetry) -> None:
        """Exchange until cancelled. Without the database each process counts its own events only."""
        while True:
            await asyncio.sleep(EXCHANGE_EVERY_S)
            if not self._received:
                continue
            try:
                async with pool.acquire() as connection:
                    await self.exchange(connection)
            except DRIVER_ERRORS as error:
                telemetry.failed("inbound_limits.exchange_failed", error, level=30)
