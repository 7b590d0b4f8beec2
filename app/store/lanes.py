"""Lanes: which worker may send for an organisation's advertiser.

A worker owns a lane by a timed lease with a fencing number, the fence. Every write of a result names the
fence. The owner also holds an advisory lock. The lock ends with the owner's session, so the lanes of a
crashed worker are free immediately. Other workers end the session of a worker that hangs (`living_workers`);
its lanes are free at the end of their leases at the latest.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import Final

from app.domain.ids import LaneId, OrganisationId
from app.domain.pacing.pace import PaceSummary
from app.store import PipelineConnection, fetch_map, fetch_scalar, read_row, read_sql, transposed
from app.store.errors import DRIVER_ERRORS

SQL: Final = read_sql(__file__)

LANE_LOCKS = 7_311  # class of the advisory locks of lanes; the second number is the lane
WORKER_LOCKS = 7_312  # every worker holds this lock shared, so that workers can be counted
WAITING_CHANNEL = "batches_waiting"  # NOTIFY channel: '<lane>:<events>' separated by commas
_RETRY = "retry"  # in place of a number of events; the previous release ignores it


@dataclass(frozen=True, slots=True)
class LaneLease:
    """A lane that this worker owns.

    Every write of a result includes `fence`. After a 429 from Amazon the lane sends nothing for `blocked_for`
    seconds, which is 0 without a 429.
    """

    id: LaneId
    fence: int
    organisation: OrganisationId
    region: str
    advertiser_id: str
    blocked_for: float
    learned_rate: float | None = None


class StaleOwner(Exception):
    """Another worker owns the lane now, so this worker must not write."""


async def register_worker(connection: PipelineConnection) -> None:
    """Count this session as a worker until its connection ends."""
    await connection.execute("SELECT pg_advisory_lock_shared($1, 0)", WORKER_LOCKS)


async def unregister_worker(connection: PipelineConnection) -> None:
    """Stop counting this session as a worker. It keeps its lanes until it releases them."""
    await connection.execute("SELECT pg_advisory_unlock_shared($1, 0)", WORKER_LOCKS)


async def living_workers(connection: PipelineConnection, *, silent_after: timedelta) -> int:
    """Return how many workers are alive on this database, at least 1.

    A worker that sent no statement for `silent_after` is frozen: it is not counted. Its session is ended,
    because it would keep the locks of its lanes, possibly forever. If it continues, its connection is closed
    and it can commit nothing.
    """
    return max(1, await fetch_scalar(connection, int, SQL["living_workers"], WORKER_LOCKS, silent_after))


async def acquire(
    connection: PipelineConnection, lane: LaneId, owner: str, *, lease: timedelta
) -> LaneLease | None:
    """Take a free lane under the next fence, or return None when another worker owns it.

    `connection` must live as long as the worker, because it holds the advisory lock of the lane.
    """
    locked: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", LANE_LOCKS, lane)
    row = None
    try:
        row = await connection.fetchrow(SQL["acquire"], lane, owner, lease, locked)
    finally:
        if locked and row is None:
            # A lock without a lease would block the lane for every other worker.
            with suppress(*DRIVER_ERRORS):
                await connection.execute("SELECT pg_advisory_unlock($1, $2)", LANE_LOCKS, lane)
    return None if row is None else read_row(LaneLease, row)


async def renew(
    connection: PipelineConnection, fences: Collection[tuple[LaneId, int]], *, lease: timedelta
) -> dict[LaneId, bool]:
    """Renew the leases of lanes, given with their fences.

    Returns the lanes that this worker still owns, and whether each was renewed. A lane whose row another
    transaction has locked is not renewed, so that it does not delay the others.
    """
    return await fetch_map(connection, SQL["renew"], *transposed(fences, 2), lease)


async def release(connection: PipelineConnection, lease: LaneLease) -> None:
    """Release a lane, so that another worker does not wait until the lease expires."""
    await connection.execute(SQL["release"], lease.id, lease.fence, LANE_LOCKS)


async def hold(connection: PipelineConnection, lease: LaneLease) -> None:
    """Keep a lane until the transaction ends. Raises StaleOwner if it has no longer the fence of the lease.

    FOR KEY SHARE: the fence is part of a unique key of the table, so only a new owner waits, not a renewal.
    """
    statement = "SELECT true FROM lanes WHERE id = $1 AND fence = $2 FOR KEY SHARE"
    if not await connection.fetchval(statement, lease.id, lease.fence):
        raise StaleOwner


async def block_until(connection: PipelineConnection, lane: LaneId, seconds: float) -> None:
    """Let a lane send nothing for `seconds`, because Amazon answered 429 with Retry-After.

    The statement does not compare the fence: the block applies to the next owner too. It never shortens an
    earlier block.
    """
    await connection.execute(SQL["block_until"], lane, seconds)


_SUMMARY: Final = attrgetter("learned_rate", "breaker", "error_rate", "probe_in")


async def record_summary(connection: PipelineConnection, lease: LaneLease, summary: PaceSummary) -> None:
    """Store the owner's estimated rate and breaker state, for the console and the next owner."""
    await connection.execute(SQL["record_summary"], lease.id, lease.fence, *_SUMMARY(summary))


async def notify_waiting(connection: PipelineConnection, waiting: dict[LaneId, int]) -> None:
    """Notify all workers of new events by lane. If a notification is lost, the next poll finds the events."""
    parts = [f"{lane}:{events}" for lane, events in waiting.items()]
    # Postgres limits a payload to 8,000 bytes. 400 parts of at most 18 characters fit.
    for start in range(0, len(parts), 400):
        await connection.execute(
            "SELECT pg_notify($1, $2)", WAITING_CHANNEL, ",".join(parts[start : start + 400])
        )


async def notify_retry(connection: PipelineConnection, lane: LaneId) -> None:
    """Ask the owner of a lane to send its due events now, although its circuit breaker is open."""
    await connection.execute("SELECT pg_notify($1, $2)", WAITING_CHANNEL, f"{lane}:{_RETRY}")


def read_notification(payload: str) -> dict[LaneId, int | None]:
    """Return the numbers of new events by lane from a notification, None for a lane that must retry now.

    Malformed parts are ignored.
    """
    waiting: dict[LaneId, int | None] = {}
    for part in payload.split(","):
        lane, _, events = part.partition(":")
        if lane.isdecimal() and (events.isdecimal() or events == _RETRY):
            waiting[LaneId(int(lane))] = None if events == _RETRY else int(events)
    return waiting
