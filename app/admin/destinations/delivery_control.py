"""Delivery control for use cases: wait for requests in flight, count waiting events, discard them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic

from app.delivery.delivery import SETTLED_WITHIN
from app.domain.ids import DestinationNumber, LaneId
from app.domain.outcomes.status import Status
from app.store import PipelineConnection, attempts, batches, counts, lanes, waiting_events
from app.store.organisations.scope import PipelinePool
from app.telemetry import Telemetry

_POLL_SECONDS = 0.05


async def until_settled(
    pool: PipelinePool,
    monotonic: Callable[[], float],
    in_flight: Callable[[PipelineConnection], Awaitable[bool]],
) -> None:
    """Return when no request to Amazon is in flight, or when each has timed out."""
    deadline = monotonic() + SETTLED_WITHIN.total_seconds()
    while monotonic() < deadline:
        async with pool.acquire() as connection:
            if not await in_flight(connection):
                return
        await asyncio.sleep(_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class DeliveryControl:
    """Delivery operations for use cases on a destination. Each API process has one instance."""

    pool: PipelinePool
    writer: counts.CountWriter
    telemetry: Telemetry
    monotonic: Callable[[], float] = monotonic

    async def quiesce(self, destination: DestinationNumber) -> None:
        """Return when each request to Amazon for a destination has a stored result or has timed out.

        Call it after committing the change that prevents further attempts.
        """
        in_flight = partial(attempts.any_in_flight, destination=destination, younger_than=SETTLED_WITHIN)
        await until_settled(self.pool, self.monotonic, in_flight)

    async def waiting(self, connection: PipelineConnection, destination: DestinationNumber) -> int:
        """Return how many accepted events wait for delivery. The caller holds flushes."""
        return await batches.waiting(connection, destination)

    async def discard(self, connection: PipelineConnection, destination: DestinationNumber) -> int:
        """Mark waiting events of an archived destination as dead. Return their number, 0 if none is left."""
        return await waiting_events.discard(connection, destination, self.writer)

    def count_discarded(self, events: int) -> None:
        """Add the events of a committed discard to the metric."""
        self.telemetry.settled[Status.DEAD].inc(events)

    async def wake(self, lane: LaneId) -> None:
        """Notify workers that a destination of a lane changed. Without this, they notice it later."""
        async with self.pool.acquire() as connection:
            await lanes.notify_waiting(connection, {lane: 0})
