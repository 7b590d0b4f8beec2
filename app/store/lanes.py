"""Lanes: which worker may send for an advertiser, and which lanes have due work.

Ownership is a timed lease with a fencing number; every write of results names the fence. A session advisory
lock ends with its connection, so the lanes of a crashed owner are free immediately. A hanging owner loses its
session to another worker (`living_workers`), and its lanes at the end of the lease at the latest.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

from app.domain.ids import (
    DEFAULT_ORGANISATION,
    DestinationId,
    DestinationNumber,
    LaneId,
    OrganisationId,
)
from app.domain.pacing.fair_queueing import WorkKind
from app.domain.pacing.token_bucket import RateLimit
from app.store import PipelineConnection, damage, due_heads, silent_sessions
from app.store.due_heads import PROBE_DUE
from app.store.errors import DRIVER_ERRORS

LANE_LOCKS = 7_311  # class of the advisory locks, one per lane
WORKER_LOCKS = 7_312  # each worker holds one, so that workers can be counted


@dataclass(frozen=True, slots=True)
class LaneLease:
    """A lane that this worker owns.

    Every write includes `fence`. `blocked_for` is the rest of the window of a 429, in seconds.
    """

    id: LaneId
    fence: int
    region: str
    advertiser_id: str
    blocked_for: float
    learned_rate: float | None = None


@dataclass(frozen=True, slots=True)
class DestinationQueue:
    """A destination of a lane whose events may be sent.

    `due_in` has the seconds until each waiting kind of request is due (≤ 0: now). With `is_probe`, only one
    request may be sent: the destination waits because Amazon answered 404.
    """

    number: DestinationNumber
    id: DestinationId
    due_in: Mapping[WorkKind, float]
    is_probe: bool = False
    organisation: OrganisationId = DEFAULT_ORGANISATION


@dataclass(frozen=True, slots=True)
class LanePoll:
    """The facts that the owner of a lane reads before its next request.

    `limit` is the lowest rate limit of the destinations, None without a destination. `erasures` counts the
    requested erasures. `damaged` are destinations whose due events cannot be read.
    """

    limit: RateLimit | None
    erasures: int
    queues: tuple[DestinationQueue, ...]
    damaged: tuple[DestinationQueue, ...] = ()


@dataclass(frozen=True, slots=True)
class PaceSettings:
    """A lane's pace: the lowest rate limit of its destinations, and the rate its owner last reported."""

    limit: RateLimit | None
    learned_rate: float | None


@dataclass(frozen=True, slots=True)
class LaneWork:
    """A lane that has sendable work or an owner.

    `owner` is None if it is free. `due_in` is the seconds until events are due (≤ 0: now), None without
    events. `is_lapsed`: the lane is free because its owner neither renewed nor released its lease.
    """

    lane: LaneId
    owner: str | None
    due_in: float | None
    is_lapsed: bool = False


async def register_worker(connection: PipelineConnection) -> None:
    """Count this session as a worker until its connection ends."""
    await connection.execute("SELECT pg_advisory_lock_shared($1, 0)", WORKER_LOCKS)


async def unregister_worker(connection: PipelineConnection) -> None:
    """Stop counting this session as a worker. It keeps its lanes until they are released."""
    await connection.execute("SELECT pg_advisory_unlock_shared($1, 0)", WORKER_LOCKS)


async def living_workers(connection: PipelineConnection, *, silent_after: timedelta) -> int:
    """Return how many workers are alive on this database, and end the sessions of silent ones.

    A frozen worker keeps its session and the locks of its lanes. A worker that was silent for `silent_after`
    is not counted, and its session is ended.
    """
    holders, silent = await silent_sessions.speaking(connection, WORKER_LOCKS, 0, silent_after=silent_after)
    if silent:
        await silent_sessions.end_silent(connection, WORKER_LOCKS, 0, silent_after=silent_after)
    return max(1, holders - silent)


async def busy_lanes(connection: PipelineConnection) -> list[LaneWork]:
    """Return each lane that has sendable work or an owner, in one statement for any number of lanes.

    A lane is free without a lease, with an expired one, or when its owner's session is gone.
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
    """Read the first row of each (destination, queue) by hopping through the index of open rows.

    Postgres has no such scan (loose index scan). It costs one step per non-empty queue of any length.
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
    -- When each lane is next due, by destinations that may send or probe.
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
      FROM lanes l LEFT JOIN owed o ON o.lane = l.id)
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
    """Take a free lane under the next fence, or return None when another worker has it.

    `connection` lives as long as the worker: its advisory lock marks the worker as alive.
    """
    locked: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", LANE_LOCKS, lane)
    row = None
    try:
        row = await connection.fetchrow(
            """
            UPDATE lanes SET fence = fence + 1, owner = $2, leased_until = now() + $3::interval
            WHERE id = (
              -- With the advisory lock the former owner's session has ended; else its lease must be over.
              -- A frozen owner may lock the row in a transaction: skip it and take other lanes.
              SELECT id FROM lanes WHERE id = $1 AND ($4 OR leased_until < now()) FOR UPDATE SKIP LOCKED)
            RETURNING id, fence, region, advertiser_id,
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
    if row is None:
        return None
    return LaneLease(LaneId(row["id"]), *(row[name] for name in row.keys() if name != "id"))  # noqa: SIM118


async def renew(
    connection: PipelineConnection, fences: Collection[tuple[LaneId, int]], *, lease: timedelta
) -> set[LaneId]:
    """Renew these leases; return the lanes that are still ours."""
    rows = await connection.fetch(
        """
        UPDATE lanes l SET leased_until = now() + $3::interval FROM unnest($1::int[], $2::bigint[])
          AS mine (id, fence)
        WHERE l.id = mine.id AND l.fence = mine.fence RETURNING l.id
        """,
        [lane for lane, _ in fences],
        [fence for _, fence in fences],
        lease,
    )
    return {LaneId(row["id"]) for row in rows}


async def release(connection: PipelineConnection, lane: LaneId, fence: int) -> None:
    """Release a lane, so that another worker does not wait until the lease expires."""
    await connection.execute(
        """
        -- One statement: a lock without a lease would block the lane for every other worker.
        WITH freed AS (
          -- Only if this worker still owns the lane.
          UPDATE lanes SET leased_until = NULL, owner = NULL WHERE id = $1 AND fence = $2 RETURNING 1)
        -- The count makes the update run first.
        SELECT pg_advisory_unlock($3, $1) FROM (SELECT count(*) FROM freed) AS updated
        """,
        lane,
        fence,
        LANE_LOCKS,
    )


async def is_owned(connection: PipelineConnection, lane: LaneId, fence: int) -> bool:
    """Return whether this worker owns a lane. If so, lock the lane's row until the transaction ends."""
    found = await connection.fetchval(
        "SELECT true FROM lanes WHERE id = $1 AND fence = $2 FOR SHARE", lane, fence
    )
    return bool(found)


async def block_until(connection: PipelineConnection, lane: LaneId, seconds: float) -> None:
    """Record the end of a Retry-After window, for any owner of the lane.

    Not fenced: the window of a former owner also applies to its successor. The end only moves later.
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
    """Record the owner's estimate and breaker state, for the console and the next owner."""
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
    """Return the limits and the due work of a lane before its next request.

    Events in flight are left out, or a lane would seem due while it waits for a reply. Batches of a
    (destination, queue) due before its watermark are not searched: see `app.domain.pacing.watermarks`. One
    statement, because it runs before every request to Amazon.
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
            OrganisationId(row["organisation_id"]),
        )
        for row in rows
        if row["is_active"] or row["is_probe"]
    )
    unread = tuple(queue for queue in queues if queue.number in damaged)
    return LanePoll(reduce(RateLimit.lowest, limits) if limits else None, rows[0]["erasures"], queues, unread)


_POLL = f"""
        SELECT l.erasures, d.organisation_id, d.number, d.id, d.requests_per_second, d.burst,
          d.state = 'active' AS is_active, {PROBE_DUE} AS is_probe,
          extract(epoch FROM q.live - clock_timestamp())::float8 AS live,
          extract(epoch FROM q.retry - clock_timestamp())::float8 AS retry,
          extract(epoch FROM q.replay - clock_timestamp())::float8 AS replay,
          extract(epoch FROM q.replay_retry - clock_timestamp())::float8 AS replay_retry
        -- LEFT JOIN: a lane without destinations has erasures.
        FROM lanes l LEFT JOIN destinations d ON d.lane = l.id AND d.archived_at IS NULL
        LEFT JOIN unnest($5::int[], $6::timestamptz[], $7::timestamptz[]) AS watermark (number, live, replay)
          ON watermark.number = d.number
        -- The earliest due time of each queue, without events in flight: one index probe each.
        LEFT JOIN LATERAL (SELECT
          (SELECT s.due_at FROM batch_states s WHERE s.destination = d.number
            AND s.queue = 0 AND s.settled_at IS NULL
            AND s.due_at >= coalesce(watermark.live, '-infinity') AND s.batch <> ALL($2::bigint[])
            ORDER BY s.due_at LIMIT 1) AS live,
          (SELECT e.due_at FROM exceptions e WHERE e.destination = d.number
            AND e.queue = 0 AND e.status = 'retrying' AND NOT EXISTS (SELECT FROM unnest($3::bigint[],
              $4::smallint[]) AS f (batch, place)
              WHERE f.batch = e.batch AND f.place = e.place)
            ORDER BY e.due_at LIMIT 1) AS retry,
          (SELECT s.due_at FROM batch_states s WHERE s.destination = d.number
            AND s.queue = 2 AND s.settled_at IS NULL
            AND s.due_at >= coalesce(watermark.replay, '-infinity') AND s.batch <> ALL($2::bigint[])
            ORDER BY s.due_at LIMIT 1) AS replay,
          (SELECT e.due_at FROM exceptions e WHERE e.destination = d.number
            AND e.queue = 2 AND e.status = 'retrying' AND NOT EXISTS (SELECT FROM unnest($3::bigint[],
              $4::smallint[]) AS f (batch, place)
              WHERE f.batch = e.batch AND f.place = e.place)
            ORDER BY e.due_at LIMIT 1) AS replay_retry) q
          -- A destination that may not send has no due times.
          ON d.state = 'active' OR {PROBE_DUE}
        WHERE l.id = $1 ORDER BY d.number
        """


async def pace_settings(connection: PipelineConnection, lane: LaneId) -> PaceSettings:
    """Return a lane's learned rate, and the lowest rate limit of its unarchived destinations."""
    row = await connection.fetchrow(
        """
        SELECT l.learned_rate, min(d.requests_per_second) AS rate, min(d.burst) AS burst
        -- LEFT JOIN: a lane without destinations has erasures.
        FROM lanes l LEFT JOIN destinations d ON d.lane = l.id AND d.archived_at IS NULL
        WHERE l.id = $1 GROUP BY l.id
        """,
        lane,
    )
    assert row is not None
    limit = None if row["rate"] is None else RateLimit(row["rate"], row["burst"])
    return PaceSettings(limit, row["learned_rate"])
