"""Lanes: which worker may send for an organisation's advertiser, and which lanes have due work.

A worker owns a lane by a timed lease with a fencing number, the fence. Every write of a result names the
fence. The owner also holds an advisory lock. The lock ends with the owner's session, so the lanes of a
crashed worker are free immediately. Other workers end the session of a worker that hangs (`living_workers`);
its lanes are free at the end of their leases at the latest.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

from app.domain.ids import DestinationId, DestinationNumber, LaneId, OrganisationId
from app.domain.pacing.fair_queueing import WorkKind
from app.domain.pacing.token_bucket import RateLimit
from app.store import PipelineConnection, due_heads
from app.store.database import damage, silent_sessions
from app.store.due_heads import IS_LIMITING, PROBE_DUE
from app.store.errors import DRIVER_ERRORS
from app.store.rows import read_row

LANE_LOCKS = 7_311  # class of the advisory locks of lanes; the second number is the lane
WORKER_LOCKS = 7_312  # every worker holds this lock shared, so that workers can be counted


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


@dataclass(frozen=True, slots=True)
class DestinationQueue:
    """A destination of a lane whose events may be sent.

    `due_in` has the seconds until each kind of work is due. Work with zero or negative seconds is due now.
    With `is_probe`, only one request may be sent, because Amazon answered 404 to an earlier one.
    """

    number: DestinationNumber
    id: DestinationId
    due_in: Mapping[WorkKind, float]
    is_probe: bool = False


@dataclass(frozen=True, slots=True)
class LanePoll:
    """What the owner of a lane reads before its next request.

    `limit` is the lowest rate limit of the lane's connected destinations, None without one. `erasures` is the
    number of erasures requested so far. `rates_elsewhere` are the rates to which Amazon limits other
    organisations on this account. `damaged` are the members of `queues` whose events cannot be read.
    """

    limit: RateLimit | None
    erasures: int
    rates_elsewhere: tuple[float, ...]
    queues: tuple[DestinationQueue, ...]
    damaged: tuple[DestinationQueue, ...] = ()


@dataclass(frozen=True, slots=True)
class PaceSettings:
    """The lowest rate limit of a lane's connected destinations, and the rate its owner last reported."""

    limit: RateLimit | None
    learned_rate: float | None


@dataclass(frozen=True, slots=True)
class LaneWork:
    """A lane that has sendable work or an owner.

    `owner` is None if the lane is free. `due_in` is the seconds until its next event is due, None without
    waiting events. With zero or negative seconds the event is due now. `is_lapsed` means that the last owner
    neither renewed nor released its lease.
    """

    lane: LaneId
    owner: str | None
    due_in: float | None
    is_lapsed: bool = False


async def register_worker(connection: PipelineConnection) -> None:
    """Count this session as a worker until its connection ends."""
    await connection.execute("SELECT pg_advisory_lock_shared($1, 0)", WORKER_LOCKS)


async def unregister_worker(connection: PipelineConnection) -> None:
    """Stop counting this session as a worker. It keeps its lanes until it releases them."""
    await connection.execute("SELECT pg_advisory_unlock_shared($1, 0)", WORKER_LOCKS)


async def living_workers(connection: PipelineConnection, *, silent_after: timedelta) -> int:
    """Return how many workers are alive on this database, at least 1.

    A worker that sent no statement for `silent_after` is frozen: it is not counted. Its session is ended,
    because it would keep the locks of its lanes.
    """
    holders, silent = await silent_sessions.speaking(connection, WORKER_LOCKS, 0, silent_after=silent_after)
    if silent:
        await silent_sessions.end_silent(connection, WORKER_LOCKS, 0, silent_after=silent_after)
    return max(1, holders - silent)


async def busy_lanes(connection: PipelineConnection) -> list[LaneWork]:
    """Return each lane that has sendable work or an owner, with one statement for any number of lanes.

    A lane is free if it has no lease, if its lease has expired, or if its owner's session has ended.
    """
    try:
        rows = await connection.fetch(_BUSY, LANE_LOCKS)
    except Exception as error:
        if not damage.is_damage(error):
            raise
        owed = await due_heads.owed_around_damage(connection)
        rows = await connection.fetch(_BUSY_AROUND_DAMAGE, LANE_LOCKS, list(owed), list(owed.values()))
    return [LaneWork(LaneId(row["id"]), row["owner"], row["due_in"], row["is_lapsed"]) for row in rows]


def _heads(name: str, table: str, open_ones: str) -> str:
    """Return a recursive CTE that finds the first open row of each (destination, queue).

    The CTE does a loose index scan, which Postgres does not have. It costs one index probe per queue that is
    not empty, regardless of the queue's length.
    """
    return f"""
        {name} AS (
          -- The first row of the index.
          (SELECT destination, queue, due_at FROM {table} WHERE {open_ones}
           ORDER BY destination, queue, due_at LIMIT 1)
          UNION ALL
          -- The first row after the last (destination, queue).
          SELECT n.destination, n.queue, n.due_at FROM {name} h, LATERAL (
            SELECT destination, queue, due_at FROM {table}
            WHERE {open_ones} AND (destination, queue) > (h.destination, h.queue)
            ORDER BY destination, queue, due_at LIMIT 1) n)"""


_OWED = f"""RECURSIVE {_heads("batch_heads", "batch_states", "settled_at IS NULL")},
    {_heads("exception_heads", "exceptions", "status = 'retrying'")},
    -- The next due time of each lane, from the destinations that may send or probe.
    owed AS (SELECT d.lane, min(h.due_at) AS due_at
      FROM (SELECT * FROM batch_heads UNION ALL SELECT * FROM exception_heads) h
      JOIN destinations d ON d.number = h.destination AND (d.state = 'active' OR {PROBE_DUE})
      GROUP BY d.lane)"""


def _busy(owed: str) -> str:
    return f"""
    WITH {owed},
    -- Lanes whose owner's session is alive: it holds the advisory lock.
    locked AS (
      SELECT objid::bigint AS lane FROM pg_locks
      WHERE locktype = 'advisory' AND classid::bigint = $1 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())),
    -- An owner counts while its lease and its session last.
    lane_work AS (
      SELECT l.id, CASE WHEN l.leased_until > now() AND l.id IN (SELECT lane FROM locked)
        THEN l.owner END AS owner, extract(epoch FROM o.due_at - clock_timestamp())::float8 AS due_in,
        coalesce(l.owner IS NOT NULL AND l.leased_until <= now(), false) AS is_lapsed
      FROM lanes l LEFT JOIN owed o ON o.lane = l.id
      -- All other lanes, such as those of drafts, are not read.
      WHERE l.id IN (SELECT lane FROM owed UNION SELECT lane FROM locked))
    SELECT id, owner, due_in, is_lapsed FROM lane_work
    WHERE owner IS NOT NULL OR due_in IS NOT NULL ORDER BY id
"""


_BUSY = _busy(_OWED)
_BUSY_AROUND_DAMAGE = _busy(
    "owed AS (SELECT * FROM unnest($2::int[], $3::timestamptz[]) AS o (lane, due_at))"
)


async def acquire(
    connection: PipelineConnection, lane: LaneId, owner: str, *, lease: timedelta
) -> LaneLease | None:
    """Take a free lane under the next fence, or return None when another worker owns it.

    `connection` must live as long as the worker, because it holds the advisory lock of the lane.
    """
    locked: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", LANE_LOCKS, lane)
    row = None
    try:
        row = await connection.fetchrow(
            """
            UPDATE lanes SET fence = fence + 1, owner = $2, leased_until = now() + $3::interval
            WHERE id = (
              -- The advisory lock proves that the former owner's session has ended. Without it, the lease
              -- must have expired. SKIP LOCKED: a frozen owner may have locked the row in a transaction.
              SELECT id FROM lanes WHERE id = $1 AND ($4 OR leased_until < now()) FOR UPDATE SKIP LOCKED)
            RETURNING id, fence, organisation_id AS organisation, region, advertiser_id,
              coalesce(greatest(extract(epoch FROM blocked_until - now()), 0), 0)::float8 AS blocked_for,
              learned_rate
            """,
            lane,
            owner,
            lease,
            locked,
        )
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
    rows = await connection.fetch(
        """
        WITH mine AS (SELECT * FROM unnest($1::int[], $2::bigint[]) AS mine (id, fence)),
        -- A worker renews all its leases together: it does not wait for the one row that is locked.
        free AS (SELECT id FROM lanes l JOIN mine USING (id, fence) FOR NO KEY UPDATE OF l SKIP LOCKED),
        -- The leases of the other rows.
        renewed AS (
          UPDATE lanes l SET leased_until = now() + $3::interval FROM free WHERE l.id = free.id
          RETURNING l.id)
        -- The lanes that still have the same fence, locked or not.
        SELECT id, id IN (SELECT id FROM renewed) AS is_renewed FROM lanes JOIN mine USING (id, fence)
        """,
        [lane for lane, _ in fences],
        [fence for _, fence in fences],
        lease,
    )
    return {LaneId(row["id"]): row["is_renewed"] for row in rows}


async def release(connection: PipelineConnection, lane: LaneId, fence: int) -> None:
    """Release a lane, so that another worker does not wait until the lease expires."""
    await connection.execute(
        """
        -- One statement, so that the lock and the lease end together. A lock without a lease would block the
        -- lane for every other worker.
        WITH freed AS (
          UPDATE lanes SET leased_until = NULL, owner = NULL WHERE id = (
            -- Only if this worker still owns the lane. SKIP LOCKED: a lease without the lock has no effect.
            SELECT id FROM lanes WHERE id = $1 AND fence = $2 FOR NO KEY UPDATE SKIP LOCKED) RETURNING 1)
        -- Reading the CTE makes the update run before the unlock.
        SELECT pg_advisory_unlock($3, $1) FROM (SELECT count(*) FROM freed) AS updated
        """,
        lane,
        fence,
        LANE_LOCKS,
    )


async def is_owned(connection: PipelineConnection, lane: LaneId, fence: int) -> bool:
    """Return whether a lane still has this fence. If so, keep the fence until the transaction ends.

    FOR KEY SHARE: the fence is part of a unique key of the table, so only a new owner waits, not a renewal.
    """
    found = await connection.fetchval(
        "SELECT true FROM lanes WHERE id = $1 AND fence = $2 FOR KEY SHARE", lane, fence
    )
    return bool(found)


async def block_until(connection: PipelineConnection, lane: LaneId, seconds: float) -> None:
    """Let a lane send nothing for `seconds`, because Amazon answered 429 with Retry-After.

    The statement does not compare the fence: the block applies to the next owner too. It never shortens an
    earlier block.
    """
    await connection.execute(
        "UPDATE lanes SET blocked_until = greatest(blocked_until, "
        "  clock_timestamp() + make_interval(secs => $2::float8)) WHERE id = $1",
        lane,
        seconds,
    )


async def record_state(
    connection: PipelineConnection,
    lane: LaneId,
    fence: int,
    *,
    learned_rate: float | None,
    breaker: str,
    error_rate: float,
) -> None:
    """Store the owner's estimated rate and breaker state, for the console and the next owner."""
    await connection.execute(
        "UPDATE lanes SET learned_rate = $3, breaker = $4, error_rate = $5 WHERE id = $1 AND fence = $2",
        lane,
        fence,
        learned_rate,
        breaker,
        error_rate,
    )


async def poll(
    connection: PipelineConnection,
    lane: LaneId,
    *,
    batches_in_flight: Sequence[int],
    exceptions_in_flight: Sequence[tuple[int, int]],
    watermarks: Mapping[tuple[DestinationNumber, int], datetime],
) -> LanePoll:
    """Return the limits and the due work of a lane. The owner calls this before every request to Amazon.

    Events in flight are left out: otherwise a lane would seem due while it waits for a reply. `watermarks`
    has, by (destination, queue), the due time before which no batch is searched
    (`app.domain.pacing.watermarks`).
    """
    numbers = sorted({number for number, _ in watermarks})
    rows: list[Any]
    damaged: frozenset[DestinationNumber] = frozenset()
    try:
        rows = await connection.fetch(
            _POLL,
            lane,
            list(batches_in_flight),
            [batch for batch, _ in exceptions_in_flight],
            [place for _, place in exceptions_in_flight],
            numbers,
            [watermarks.get((number, 0)) for number in numbers],
            [watermarks.get((number, 2)) for number in numbers],
        )
    except Exception as error:
        if not damage.is_damage(error):
            raise
        rows, damaged = await due_heads.poll_around_damage(
            connection, lane, batches_in_flight, exceptions_in_flight
        )
    limits = [
        RateLimit(row["requests_per_second"], row["burst"]) for row in rows if row["number"] is not None
    ]
    queues = tuple(
        DestinationQueue(
            DestinationNumber(row["number"]),
            DestinationId(row["id"]),
            {service: row[service.value] for service in WorkKind if row[service.value] is not None},
            row["is_probe"],
        )
        for row in rows
        if row["is_active"] or row["is_probe"]
    )
    unread = tuple(queue for queue in queues if queue.number in damaged)
    limit = reduce(RateLimit.lowest, limits) if limits else None
    return LanePoll(limit, rows[0]["erasures"], tuple(rows[0]["rates_elsewhere"]), queues, unread)


_WATERMARKED = due_heads.heads(
    "d.number",
    since_live="coalesce(watermark.live, '-infinity')",
    since_replay="coalesce(watermark.replay, '-infinity')",
)
_POLL = f"""
        SELECT {due_heads.POLL_COLUMNS}, {due_heads.SECONDS_LEFT}
        FROM {due_heads.POLL_TABLES}
        LEFT JOIN unnest($5::int[], $6::timestamptz[], $7::timestamptz[]) AS watermark (number, live, replay)
          ON watermark.number = d.number
        LEFT JOIN LATERAL ({_WATERMARKED}) q
          -- A destination that may not send has no due times.
          ON d.state = 'active' OR {PROBE_DUE}
        WHERE l.id = $1 ORDER BY d.number
        """


async def pace_settings(connection: PipelineConnection, lane: LaneId) -> PaceSettings:
    """Return a lane's learned rate and the lowest rate limit of its connected destinations."""
    row = await connection.fetchrow(
        f"""
        SELECT l.learned_rate, min(d.requests_per_second) AS rate, min(d.burst) AS burst
        -- LEFT JOIN: a lane without connected destinations still has a learned rate.
        FROM lanes l LEFT JOIN destinations d ON d.lane = l.id AND {IS_LIMITING}
        WHERE l.id = $1 GROUP BY l.id
        """,
        lane,
    )
    assert row is not None
    limit = None if row["rate"] is None else RateLimit(row["rate"], row["burst"])
    return PaceSettings(limit, row["learned_rate"])
