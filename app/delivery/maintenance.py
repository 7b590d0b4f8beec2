"""Maintenance: expire and discard events, delete data keys and old rows, create, drop and rotate partitions.

Every worker can run these jobs. An advisory lock lets only one worker run them at a time.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar

from app.amazon.wire import MAX_RETRY_AFTER_S
from app.delivery.callbacks import LEASE, LONGEST_PAUSE_S
from app.delivery.delivery import SETTLED_WITHIN
from app.delivery.lane_leases import LONGEST_BLOCK
from app.delivery.worker import Worker
from app.domain.batch import digest_ranges
from app.domain.ids import BatchId, DestinationNumber
from app.domain.outcomes.settle import ENDPOINT_POLICY
from app.domain.pacing.lane_limits import LONGEST_LEASE_S
from app.store import (
    PipelineConnection,
    attempts,
    audit_head,
    batches,
    callbacks,
    counts,
    exceptions,
    transactions,
    waiting_events,
)
from app.store.database import partitions
from app.store.database.clock import FutureTime, correct_future_times
from app.store.database.damage import is_damage, newest_batch
from app.store.events import id_digests, journey_figures, rejections
from app.telemetry import describe_exception

_RETRY = timedelta(seconds=MAX_RETRY_AFTER_S)  # longer than any wait of `RetryPolicy`
_FOLD_LIMIT = 1_000  # journey nodes per statement
_RESPONSE_LIMIT = 10_000  # responses of Amazon per statement
_EXPIRE_LIMIT = 500  # batches and exceptions per run
# Longer than from the claim of an event within the age limit until the commit of its attempt.
_CLAIMED_FOR = timedelta(minutes=1)
_MAINTENANCE_LOCK = 7_303  # a worker that does not get the lock skips this run
_HOURLY_S = 3_600.0
_INDEX_EVERY_S = 60.0  # longer than a session uses batch ids that it has reserved, and than a flush takes
_INDEX_LIMIT = 500  # batches per transaction
_INDEX_STEPS = 200  # transactions per run
FEWEST_DAYS_AHEAD = 3  # one day more than readiness requires
_TIMES_EVERY_S = 30.0
# The times that something waits for, with the longest wait that this service writes.
FUTURE_TIMES: Final = (
    FutureTime("batch_states", "due_at", "batch", _RETRY, "settled_at IS NULL"),
    FutureTime("exceptions", "due_at", "batch", _RETRY, "status = 'retrying'"),
    FutureTime("attempts", "started_at", "id", timedelta(0), "settled_at IS NULL"),
    FutureTime("lanes", "blocked_until", "id", LONGEST_BLOCK),
    FutureTime("lanes", "leased_until", "id", timedelta(seconds=LONGEST_LEASE_S)),
    FutureTime("destinations", "endpoint_probe_at", "id", timedelta(seconds=ENDPOINT_POLICY.probe_every)),
    FutureTime("callbacks", "due_at", "id", timedelta(seconds=LONGEST_PAUSE_S)),
    FutureTime("callbacks", "leased_until", "id", LEASE),
    FutureTime("notifications", "due_at", "id", timedelta(hours=1), "finished_at IS NULL"),
    FutureTime("notifications", "leased_until", "id", timedelta(minutes=1), "finished_at IS NULL"),
    FutureTime("incidents", "last_seen_at", "id", timedelta(0), "resolved_at IS NULL"),
)
Result = TypeVar("Result")
# The pause of a job after its first failure; it doubles with each further failure.
_FIRST_PAUSE_S = 30.0
_LONGEST_PAUSE_S = 900.0
_AUDIT_HEAD_EVERY_S = 24 * 3_600.0
_DEAD_KEY_LIFE = timedelta(days=7)  # of batches with dead letters, so that they can be replayed


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long data is stored. The retention of a data key begins when all events of its batch are final."""

    max_age: timedelta
    key_life: timedelta
    batch_days: int
    rejection_days: int


@dataclass(slots=True)
class _MaintenanceJob:
    """A maintenance job, and when it is due in monotonic seconds."""

    name: str
    run: Callable[[PipelineConnection], Awaitable[object]]
    every_s: float = 0.0
    due_at: float = float("-inf")
    pause_s: float = _FIRST_PAUSE_S


async def _in_turn(
    run: Callable[[PipelineConnection], Awaitable[Result]], connection: PipelineConnection
) -> Result | None:
    """Run a job in a transaction and return its result, unless another worker runs a job in its turn."""
    async with connection.transaction():
        if not await transactions.try_lock(connection, _MAINTENANCE_LOCK):
            return None
        return await run(connection)


@dataclass(eq=False, repr=False, kw_only=True)
class Maintenance:
    """Runs the maintenance jobs every few seconds, and the jobs for partitions once an hour."""

    every_s = 5.0

    worker: Worker
    retention: Retention
    _jobs: Sequence["_MaintenanceJob"] = field(init=False)
    _newest_id: BatchId = field(init=False, default=BatchId(0))

    def __post_init__(self) -> None:
        delete_rejections = partial(rejections.delete_old, keep=timedelta(days=self.retention.rejection_days))
        # Creation comes first, because without partitions nothing can be stored. It needs no turn.
        self._jobs = [
            _MaintenanceJob("create_partitions", self._create_partitions, _HOURLY_S),
            _MaintenanceJob("rotate_ledger", self._rotate_ledger, _HOURLY_S),
            _MaintenanceJob("drop_partitions", self._drop_partitions, _HOURLY_S),
            _MaintenanceJob("drop_content", self._drop_content, _HOURLY_S),
            _MaintenanceJob("correct_times", partial(_in_turn, self._correct_times), _TIMES_EVERY_S),
            _MaintenanceJob("expire", self._expire),
            _MaintenanceJob("discard", self._discard, _HOURLY_S),
            _MaintenanceJob("delete_keys", self._delete_keys),
            _MaintenanceJob("index_ids", self._index_ids, _INDEX_EVERY_S),
            _MaintenanceJob("log_audit_head", self._log_audit_head, _AUDIT_HEAD_EVERY_S),
            _MaintenanceJob("delete_rejections", partial(_in_turn, delete_rejections)),
        ]

    async def run(self) -> None:
        """Run the jobs that are due, each in its own transactions. A job that fails stops no other job.

        A job that failed pauses, longer after each further failure, because what it waits for may be locked
        for hours and others wait behind it.
        """
        async with self.worker.pool.acquire() as connection:
            is_short = await self._partitions_run_out(connection)
            for job in self._jobs:
                now = self.worker.monotonic()
                if now < job.due_at and not (is_short and job is self._jobs[0]):
                    continue
                try:
                    await job.run(connection)
                except Exception as error:
                    if connection.is_closed():
                        raise
                    event = "maintenance.damaged_data" if is_damage(error) else "maintenance.failed"
                    self.worker.telemetry.log(event, level=40, job=job.name, error=describe_exception(error))
                    job.due_at = now + job.pause_s
                    job.pause_s = min(job.pause_s * 2, _LONGEST_PAUSE_S)
                else:
                    job.due_at, job.pause_s = now + job.every_s, _FIRST_PAUSE_S

    async def _partitions_run_out(self, connection: PipelineConnection) -> bool:
        """Return whether the partitions end within days.

        This can happen early: while a machine is suspended, the monotonic clock stands still but days pass.
        """
        ahead = await partitions.days_ahead(connection)
        if ahead < FEWEST_DAYS_AHEAD:
            self.worker.telemetry.log("partitions.running_out", level=30, days_ahead=ahead)
        return ahead < FEWEST_DAYS_AHEAD

    async def _correct_times(self, connection: PipelineConnection) -> None:
        if changed := await correct_future_times(connection, FUTURE_TIMES):
            self.worker.telemetry.log("clock.times_corrected", level=30, **changed)

    async def _index_ids(self, connection: PipelineConnection) -> None:
        """Store digests of the ids in new batches. A search then reads only batches that may hold an id.

        A session that reserved an id before the previous run has stored its batch by now.
        """
        to, self._newest_id = self._newest_id, await newest_batch(connection)
        for _ in range(_INDEX_STEPS):
            async with connection.transaction():
                if not await transactions.try_lock(connection, _MAINTENANCE_LOCK):
                    return
                found = await id_digests.unread(connection, to=to, limit=_INDEX_LIMIT)
                await id_digests.add(connection, digest_ranges(found))
            if len(found) < _INDEX_LIMIT:
                return

    async def _log_audit_head(self, connection: PipelineConnection) -> None:
        """Log the newest hash of the audit chain. The log reveals a later deletion of the newest rows."""
        if (head := await audit_head.read(connection)) is not None:
            self.worker.telemetry.log("audit.head", rows=head.rows, hash=head.hash.hex())

    async def _create_partitions(self, connection: PipelineConnection) -> None:
        async with connection.transaction():
            await partitions.create_ahead(connection)

    async def _rotate_ledger(self, connection: PipelineConnection) -> None:
        async with connection.transaction():
            generation = await partitions.rotate_ledger(connection)
        if generation is not None:
            self.worker.telemetry.log("ledger.rotated", generation=generation)

    async def _drop_partitions(self, connection: PipelineConnection) -> None:
        """Drop old partitions, each in a transaction that ends with the drop."""
        keep_days = self.retention.batch_days
        for day in await partitions.old_days(connection, keep_days=keep_days):
            async with connection.transaction():
                await partitions.drop_day(connection, day)
            self.worker.telemetry.log("partitions.dropped", day=str(day))
        while await attempts.delete_responses(connection, limit=_RESPONSE_LIMIT):
            pass
        # A day's figures change rarely after its end: merge the rows of the sessions.
        while await journey_figures.fold(connection, limit=_FOLD_LIMIT):
            pass
        for start in await partitions.old_states(connection, keep_days=keep_days):
            async with connection.transaction():
                await partitions.drop_states(connection, start)
        async with connection.transaction():
            generation = await partitions.drop_generation(connection)
        if generation is not None:
            self.worker.telemetry.log("partitions.dropped", generation=generation)

    async def _drop_content(self, connection: PipelineConnection) -> None:
        for day in await partitions.days_without_keys(connection):
            async with connection.transaction():
                is_dropped = await partitions.drop_content(connection, day)
            if is_dropped:
                self.worker.telemetry.log("partitions.content_dropped", day=str(day))

    async def _delete_keys(self, connection: PipelineConnection) -> None:
        delete = partial(batches.delete_data_keys, after=self.retention.key_life, dead_after=_DEAD_KEY_LIFE)
        while (await _in_turn(delete, connection) or 0) >= batches.KEYS_LIMIT:
            pass

    async def _expire(self, connection: PipelineConnection) -> None:
        deltas = await _in_turn(self._write_expired, connection) or {}
        # After the commit: a failed commit is repeated.
        for delta in deltas.values():
            self.worker.telemetry.settled["expired"].inc(delta.expired)

    async def _discard(self, connection: PipelineConnection) -> None:
        """Discard the events of archived destinations whose discard was interrupted."""
        # Requests that began before the archiving was committed have ended by now.
        while numbers := await waiting_events.of_archived(connection, age=2 * SETTLED_WITHIN):
            for number in numbers:
                async with connection.transaction():
                    events = await waiting_events.discard(connection, number, self.worker.writer)
                self.worker.telemetry.settled["dead"].inc(events)

    async def _write_expired(
        self, connection: PipelineConnection
    ) -> Mapping[DestinationNumber, counts.CountDelta]:
        """Write which events expired. Return the changes of the counts, by destination."""
        older_than = self.retention.max_age + _CLAIMED_FOR
        deltas: defaultdict[DestinationNumber, counts.CountDelta] = defaultdict(counts.CountDelta)
        for number, events, retrying in await batches.expire(
            connection, older_than=older_than, limit=_EXPIRE_LIMIT
        ):
            deltas[number].expired += events
            deltas[number].retrying -= events if retrying else 0
        for number in await exceptions.expire(connection, older_than=older_than, limit=_EXPIRE_LIMIT):
            deltas[number].expired += 1
            deltas[number].retrying -= 1
        await counts.add(connection, self.worker.writer.number, deltas)
        if self.worker.writer.callbacks_enabled and deltas:
            await callbacks.mark_failed(connection, deltas)
        return deltas
