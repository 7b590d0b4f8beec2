"""What acts on a destination ask of the road: wait for what is under way, count what waits, give it up."""

import asyncio
from collections.abc import Callable

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.delivery.delivery import SETTLED_WITHIN
from app.domain.ids import DestinationNumber, LaneId
from app.store import attempts, batches, callbacks, counts, lanes, partitions

_LOOK_EVERY_S = 0.05


class StoreDeliveryControl:
    """Answers for the road towards pause, disconnect and delete. One per API process."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        writer: int,
        monotonic: Callable[[], float],
        callbacks_enabled: bool = False,
    ) -> None:
        self._pool = pool
        self._writer = writer
        self._monotonic = monotonic
        self._callbacks_enabled = callbacks_enabled

    async def quiesce(self, destination: DestinationNumber) -> None:
        """Return once every attempt that was started for a destination has settled or timed out.

        To be called after the change that lets no further one start has committed.
        """
        until = self._monotonic() + SETTLED_WITHIN.total_seconds()
        while self._monotonic() < until:
            async with self._pool.acquire() as connection:
                if not await attempts.any_in_flight(connection, destination, younger_than=SETTLED_WITHIN):
                    return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def waiting(self, connection: AsyncConnection, destination: DestinationNumber) -> int:
        """Return how many accepted events are still owed; until the transaction ends no more are accepted."""
        return await batches.waiting(await _in_same_transaction(connection), destination)

    async def discard(self, connection: AsyncConnection, destination: DestinationNumber) -> int:
        """Make what is still owed dead, with reason `discarded`, and return how many events that were."""
        driver = await _in_same_transaction(connection)
        events, retrying = await batches.discard(driver, destination)
        await counts.add(
            driver, self._writer, {destination: counts.CountDelta(dead=events, retrying=-retrying)}
        )
        if self._callbacks_enabled and events:
            await callbacks.mark_failed(driver, [destination])
        return events

    async def wake(self, destination: DestinationNumber) -> None:
        """Tell workers that a destination changed; they would find out by themselves, only later."""
        async with self._pool.acquire() as connection:
            lane = await connection.fetchval("SELECT lane FROM destinations WHERE number = $1", destination)
            if lane is not None:
                await lanes.notify(connection, {LaneId(lane): 0})


async def _in_same_transaction(connection: AsyncConnection) -> asyncpg.Connection:
    """Return the driver's connection, inside the transaction, with all flushes kept out until its end."""
    # Through SQLAlchemy first: it begins the transaction with its first statement.
    await connection.execute(
        text("SELECT pg_advisory_xact_lock(CAST(:lock AS bigint))"), {"lock": partitions.FLUSH_LOCK}
    )
    driver: asyncpg.Connection = (await connection.get_raw_connection()).driver_connection  # type: ignore[assignment]
    return driver
