"""Housekeeping that any worker may do: expiry, forgetting, partitions, the ledger's next generation."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection, audit_head, batches, callbacks, counts, exceptions, partitions
from app.store.damage import is_damage
from app.telemetry import Telemetry, describe_exception

_AT_ONCE = 500
_SWEEP_LOCK = 7_303  # one worker sweeps at a time; the others skip their turn
_PARTITIONS_EVERY_S = 3_600.0
FEWEST_DAYS_AHEAD = 3  # one more than readiness asks for
_AUDIT_HEAD_EVERY_S = 24 * 3_600.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept. `key_life` runs from a batch's last final state (engine.md, item 3)."""

    max_age: timedelta = timedelta(days=21)
    key_life: timedelta = timedelta(hours=24)
    dead_key_life: timedelta = timedelta(days=7)
    days: int = 30


class Maintenance:
    """Sweeps every few seconds; the partitions once an hour, or when they run out."""

    every_s = 5.0

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        retention: Retention,
        writer: int,
        monotonic: Callable[[], float],
        telemetry: Telemetry,
        callbacks_enabled: bool = False,
    ) -> None:
        self._pool = pool
        self._retention = retention
        self._writer = writer
        self._monotonic = monotonic
        self._telemetry = telemetry
        self._callbacks_enabled = callbacks_enabled
        self._partitions_at = self._audit_head_at = float("-inf")

    async def sweep(self) -> None:
        """Do one round, unless another worker is at it. Damaged rows in one step do not stop the others."""
        async with self._pool.acquire() as connection:
            # First, and whatever becomes of the rest: without partitions nothing can be stored.
            await self._look_after_partitions(connection)
            if not await self._in_turn(connection, self._expire):
                return
            await self._in_turn(connection, self._forget)
            now = self._monotonic()
            if now - self._audit_head_at >= _AUDIT_HEAD_EVERY_S:
                await self.log_audit_head(connection)
                self._audit_head_at = now

    async def _look_after_partitions(self, connection: PipelineConnection) -> None:
        """Do their maintenance once an hour, and at once where they run out.

        An hour of monotonic time can be days of the database's: its clock was set, or the machine suspended.
        """
        now = self._monotonic()
        if now - self._partitions_at < _PARTITIONS_EVERY_S:
            ahead = await partitions.days_ahead(connection)
            if ahead >= FEWEST_DAYS_AHEAD:
                return
            self._telemetry.log("partitions.short", level=30, days_ahead=ahead)
        await self.keep_partitions(connection)
        self._partitions_at = now

    async def _in_turn(
        self, connection: PipelineConnection, step: Callable[[PipelineConnection], Coroutine[Any, Any, None]]
    ) -> bool:
        """Do a step in a transaction of its own; returns False where another worker is at it."""
        try:
            async with connection.transaction():
                if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _SWEEP_LOCK):
                    return False
                await step(connection)
        except Exception as error:
            if not is_damage(error):
                raise
            name = step.__name__.removeprefix("_")
            self._telemetry.log("sweep.damaged_data", level=40, step=name, error=describe_exception(error))
        return True

    async def _forget(self, connection: PipelineConnection) -> None:
        await batches.delete_data_keys(
            connection, after=self._retention.key_life, dead_after=self._retention.dead_key_life
        )

    async def log_audit_head(self, connection: PipelineConnection) -> None:
        """Log the newest hash of the audit: kept outside the database, it shows a chain that was cut off."""
        if (head := await audit_head.read(connection)) is not None:
            self._telemetry.log("audit.head", rows=head.rows, hash=head.hash.hex())

    async def keep_partitions(self, connection: PipelineConnection) -> None:
        """Make partitions ahead, begin the ledger's next generation when it is time, drop what has passed."""
        async with connection.transaction():
            await partitions.create_ahead(connection)
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '3s'")
            if (generation := await partitions.rotate_ledger(connection)) is not None:
                self._telemetry.log("ledger.rotated", generation=generation)
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '3s'")
            dropped = await partitions.drop_old(connection, keep_days=self._retention.days)
        if dropped.days or dropped.generations:
            self._telemetry.log(
                "partitions.dropped", days=list(map(str, dropped.days)), generations=list(dropped.generations)
            )

    async def _expire(self, connection: PipelineConnection) -> None:
        deltas: dict[DestinationNumber, counts.CountDelta] = {}
        for number, events, retrying in await batches.expire(
            connection, older_than=self._retention.max_age, limit=_AT_ONCE
        ):
            delta = deltas.setdefault(number, counts.CountDelta())
            delta.expired += events
            delta.retrying -= events if retrying else 0
        for number in await exceptions.expire(connection, older_than=self._retention.max_age, limit=_AT_ONCE):
            delta = deltas.setdefault(number, counts.CountDelta())
            delta.expired += 1
            delta.retrying -= 1
        await counts.add(connection, self._writer, deltas)
        if self._callbacks_enabled and deltas:
            await callbacks.mark_failed(connection, deltas)
        for delta in deltas.values():
            self._telemetry.settled.labels("expired").inc(delta.expired)
