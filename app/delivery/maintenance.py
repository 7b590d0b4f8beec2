"""Maintenance: expire events, delete data keys and old rows, create and drop partitions, rotate the ledger.

Every worker can run these jobs. An advisory lock lets only one worker run them at a time.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg

from app.domain.ids import DestinationNumber
from app.store import (
    PipelineConnection,
    audit_head,
    batches,
    callbacks,
    counts,
    exceptions,
    partitions,
    rejection_records,
    transactions,
)
from app.store.damage import is_damage
from app.telemetry import Telemetry, describe_exception

_EXPIRE_LIMIT = 500  # batches and exceptions per run
_MAINTENANCE_LOCK = 7_303  # a worker that does not get the lock skips this run
_PARTITIONS_EVERY_S = 3_600.0
FEWEST_DAYS_AHEAD = 3  # one day more than readiness requires
_AUDIT_HEAD_EVERY_S = 24 * 3_600.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long data is stored. The life of a data key begins when all events of its batch are final."""

    max_age: timedelta = timedelta(days=21)
    key_life: timedelta = timedelta(hours=24)
    dead_key_life: timedelta = timedelta(days=7)
    days: int = 30
    rejection_days: int = 7


@dataclass(eq=False, repr=False, kw_only=True)
class Maintenance:
    """Runs the maintenance jobs every few seconds, and the job for partitions once an hour."""

    every_s = 5.0

    pool: asyncpg.Pool
    retention: Retention
    writer: int
    monotonic: Callable[[], float]
    telemetry: Telemetry
    callbacks_enabled: bool = False
    _partitions_at: float = field(init=False, default=float("-inf"))
    _audit_head_at: float = field(init=False, default=float("-inf"))

    async def run(self) -> None:
        """Run all jobs once, unless another worker does. Damaged rows that stop one job stop no other job."""
        async with self.pool.acquire() as connection:
            # First and without the lock: without partitions nothing can be stored.
            await self._maintain_partitions(connection)
            if not await self._run_job(connection, self._expire):
                return
            await self._run_job(connection, self._delete_keys)
            await self._run_job(connection, self._delete_rejections)
            now = self.monotonic()
            if now - self._audit_head_at >= _AUDIT_HEAD_EVERY_S:
                await self.log_audit_head(connection)
                self._audit_head_at = now

    async def _maintain_partitions(self, connection: PipelineConnection) -> None:
        """Create and drop partitions once an hour, and immediately if they run out.

        They can run out early: while a machine is suspended, the monotonic clock stands still but days pass.
        """
        now = self.monotonic()
        if now - self._partitions_at < _PARTITIONS_EVERY_S:
            ahead = await partitions.days_ahead(connection)
            if ahead >= FEWEST_DAYS_AHEAD:
                return
            self.telemetry.log("partitions.running_out", level=30, days_ahead=ahead)
        await self.rotate_partitions(connection)
        self._partitions_at = now

    async def _run_job(
        self, connection: PipelineConnection, job: Callable[[PipelineConnection], Coroutine[Any, Any, None]]
    ) -> bool:
        """Run a job in its own transaction. Return False if another worker has the lock."""
        try:
            async with connection.transaction():
                if not await transactions.try_lock(connection, _MAINTENANCE_LOCK):
                    return False
                await job(connection)
        except Exception as error:
            if not is_damage(error):
                raise
            name = job.__name__.removeprefix("_")
            self.telemetry.log(
                "maintenance.damaged_data", level=40, job=name, error=describe_exception(error)
            )
        return True

    async def _delete_keys(self, connection: PipelineConnection) -> None:
        await batches.delete_data_keys(
            connection, after=self.retention.key_life, dead_after=self.retention.dead_key_life
        )

    async def _delete_rejections(self, connection: PipelineConnection) -> None:
        await rejection_records.delete_old(connection, keep=timedelta(days=self.retention.rejection_days))

    async def log_audit_head(self, connection: PipelineConnection) -> None:
        """Log the newest hash of the audit chain. If newer rows are deleted later, the log reveals it."""
        if (head := await audit_head.read(connection)) is not None:
            self.telemetry.log("audit.head", rows=head.rows, hash=head.hash.hex())

    async def rotate_partitions(self, connection: PipelineConnection) -> None:
        """Create the partitions of the next days, rotate the ledger if it is due, drop old partitions."""
        async with connection.transaction():
            await partitions.create_ahead(connection)
        async with connection.transaction():
            await transactions.set_lock_timeout(connection, seconds=3)
            if (generation := await partitions.rotate_ledger(connection)) is not None:
                self.telemetry.log("ledger.rotated", generation=generation)
        async with connection.transaction():
            await transactions.set_lock_timeout(connection, seconds=3)
            dropped = await partitions.drop_old(connection, keep_days=self.retention.days)
        if dropped.days or dropped.generations:
            self.telemetry.log(
                "partitions.dropped", days=list(map(str, dropped.days)), generations=list(dropped.generations)
            )

    async def _expire(self, connection: PipelineConnection) -> None:
        deltas: dict[DestinationNumber, counts.CountDelta] = {}
        for number, events, retrying in await batches.expire(
            connection, older_than=self.retention.max_age, limit=_EXPIRE_LIMIT
        ):
            delta = deltas.setdefault(number, counts.CountDelta())
            delta.expired += events
            delta.retrying -= events if retrying else 0
        for number in await exceptions.expire(
            connection, older_than=self.retention.max_age, limit=_EXPIRE_LIMIT
        ):
            delta = deltas.setdefault(number, counts.CountDelta())
            delta.expired += 1
            delta.retrying -= 1
        await counts.add(connection, self.writer, deltas)
        if self.callbacks_enabled and deltas:
            await callbacks.mark_failed(connection, deltas)
        for delta in deltas.values():
            self.telemetry.settled.labels("expired").inc(delta.expired)
