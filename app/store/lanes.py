"""Lanes: who may send for an advertiser, fenced; which of them have work.

Ownership is a timed lease with a fencing number, which every write of results names. A session advisory
lock beside it dies with its connection, so that a crashed owner's lanes are free at once. An owner that hangs
loses its session to another worker (`living_workers`), and its lanes when the lease lapses at the latest.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

from app.domain.ids import DestinationId, DestinationNumber, LaneId
from app.domain.pacing.fair_queueing import WorkKind
from app.domain.pacing.token_bucket import RateLimit
from app.store import PipelineConnection, damage, due_heads, silent_sessions
from app.store.due_heads import PROBE_DUE

LANE_LOCKS = 7_311  # class of the advisory locks, one per lane
WORKER_LOCKS = 7_312  # each worker holds one, so that workers can be counted
CALLBACK_EVENTS = "batches_waiting"  # NOTIFY channel: '<lane>:<events>' separated by commas


@dataclass(frozen=True, slots=True)
class LaneLease:
    """A lane this worker owns: `fence` must be named by every write.

    `blocked_for` seconds remain of a 429's window; `learned_rate` is what former owners found out.
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

    `due_in` holds, for each kind of request that something waits for, the seconds until it is due (≤ 0: now).
    With `is_probe` one request alone may be sent: the destination waits because Amazon answered 404.
    """

    number: DestinationNumber
    id: DestinationId
    due_in: Mapping[WorkKind, float]
    is_probe: bool = False


@dataclass(frozen=True, slots=True)
class LanePoll:
    """What the owner of a lane sees before its next request.

    `limit` is the lowest of all its destinations, None without any; `erasures` counts those asked for.
    `damaged` are destinations whose due work cannot be read.
    """

    limit: RateLimit | None
    erasures: int
    queues: tuple[DestinationQueue, ...]
    damaged: tuple[DestinationQueue, ...] = ()


@dataclass(frozen=True, slots=True)
class PaceSettings:
    """The pace of a lane: the lowest limit, and what its owner last said it had learned."""

    limit: RateLimit | None
    learned_rate: float | None


@dataclass(frozen=True, slots=True)
class LaneWork:
    """A lane that owes something sendable or is owned.

    `owner` is None when it is free; `due_in` are the seconds until it owes something (≤ 0: now), None
    where nothing waits. `is_lapsed` marks a free lane whose owner neither renewed its lease nor gave it back.
    """

    lane: LaneId
    owner: str | None
    due_in: float | None
    is_lapsed: bool = False


async def register_worker(connection: PipelineConnection) -> None:
    """Make this session count as a worker until its connection ends."""
    await connection.execute("SELECT pg_advisory_lock_shared($1, 0)", WORKER_LOCKS)


async def unregister_worker(connection: PipelineConnection) -> None:
    """Let this session no longer count as a worker; its lanes stay its own until they are released."""
    await connection.execute("SELECT pg_advisory_unlock_shared($1, 0)", WORKER_LOCKS)


async def living_workers(connection: PipelineConnection, *, silent_after: timedelta) -> int:
    """Return how many workers are alive on this database; end the sessions of those that are not.

    A worker whose process is frozen keeps its session, and with it the locks of its lanes. It is not counted
    once it has said nothing for `silent_after`, and its session is ended.
    """
    holders, silent = await silent_sessions.speaking(connection, WORKER_LOCKS, 0, silent_after=silent_after)
    if silent:
        await silent_sessions.end_silent(connection, WORKER_LOCKS, 0, silent_after=silent_after)
    return max(1, holders - silent)


async def busy_lanes(connection: PipelineConnection) -> list[LaneWork]:
    """Return each lane that owes something sendable or is owned; one statement, however many lanes there are.

    Free means: no lease, a lapsed one, or an owner whose session (and with it the lock) is gone.
    """
    try:
        rows = await connection.fetch(_BUSY, LANE_LOCKS)
    except Exception as error:
        if not damage.is_damage(error):
            raise
        owed = await due_heads.owed_around_damage(connection)
        rows = await connection.fetch(_BUSY_GIVEN, LANE_LOCKS, list(owed), list(owed.values()))
    return [LaneWork(LaneId(row["id"]), row["owner"], row["due_in"], row["is_lapsed"]) for row in rows]


def _heads(name: str, table: str, open_ones: str) -> str:
    """Read the first of each (destination, queue) by hopping through the index of what is open.

    Postgres has no such scan of its own. It costs a step for each queue that something waits in and
    nothing for those that are empty, however many there are and however much waits.
    """
    return f"""
        {name} AS (
          (SELECT destination, queue, due_at FROM {table} WHERE {open_ones}
           ORDER BY destination, queue, due_at LIMIT 1)
          UNION ALL
          SELECT n.destination, n.queue, n.due_at FROM {name} h, LATERAL (
            SELECT destination, queue, due_at FROM {table}
            WHERE {open_ones} AND (destination, queue) > (h.destination, h.queue)
            ORDER BY destination, queue, due_at LIMIT 1) n)"""


_OWED = f"""RECURSIVE {_heads("whole", "batch_states", "settled_at IS NULL")},
    {_heads("single", "exceptions", "status = 'retrying'")},
    owed AS (SELECT d.lane, min(h.due_at) AS due_at
      FROM (SELECT * FROM whole UNION ALL SELECT * FROM single) h
      JOIN destinations d ON d.number = h.destination AND (d.state = 'active' OR {PROBE_DUE})
      GROUP BY d.lane)"""


def _busy(owed: str) -> str:
    return f"""
    WITH {owed},
    held AS (
      SELECT objid::bigint AS lane FROM pg_locks
      WHERE locktype = 'advisory' AND classid::bigint = $1 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())),
    known AS (
      SELECT l.id, CASE WHEN l.leased_until > now() AND l.id IN (SELECT lane FROM held)
        THEN l.owner END AS owner, extract(epoch FROM o.due_at - clock_timestamp())::float8 AS due_in,
        coalesce(l.owner IS NOT NULL AND l.leased_until <= now(), false) AS is_lapsed
      FROM lanes l LEFT JOIN owed o ON o.lane = l.id)
    SELECT id, owner, due_in, is_lapsed FROM known WHERE owner IS NOT NULL OR due_in IS NOT NULL ORDER BY id
"""


_BUSY = _busy(_OWED)
_BUSY_GIVEN = _busy("owed AS (SELECT * FROM unnest($2::int[], $3::timestamptz[]) AS o (lane, due_at))")


async def take(
    connection: PipelineConnection, lane: LaneId, owner: str, *, lease: timedelta
) -> LaneLease | None:
    """Take a free lane under the next fence, or return None when somebody else has it.

    `connection` is the one that lives as long as the worker: its advisory lock marks us alive.
    """
    locked: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", LANE_LOCKS, lane)
    row = await connection.fetchrow(
        """
        UPDATE lanes SET fence = fence + 1, owner = $2, leased_until = now() + $3::interval
        WHERE id = (
          -- With the advisory lock, the former owner's session is over; without it, the lease must be over.
          -- A frozen owner can hold the row in a transaction: skip it now, and take the other lanes.
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
    if row is None:
        return None
    return LaneLease(LaneId(row["id"]), *(row[name] for name in row.keys() if name != "id"))  # noqa: SIM118


async def renew(
    connection: PipelineConnection, fences: Collection[tuple[LaneId, int]], *, lease: timedelta
) -> set[LaneId]:
    """Prolong these leases; returns the lanes that are still ours."""
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
    """Give a lane back so that another worker need not wait for the lease."""
    await connection.execute(
        "UPDATE lanes SET leased_until = NULL, owner = NULL WHERE id = $1 AND fence = $2", lane, fence
    )
    await connection.execute("SELECT pg_advisory_unlock($1, $2)", LANE_LOCKS, lane)


async def is_ours(connection: PipelineConnection, lane: LaneId, fence: int) -> bool:
    """Tell whether we still own a lane, and keep it so until this transaction ends."""
    found = await connection.fetchval(
        "SELECT true FROM lanes WHERE id = $1 AND fence = $2 FOR SHARE", lane, fence
    )
    return bool(found)


async def block_until(connection: PipelineConnection, lane: LaneId, seconds: float) -> None:
    """Keep the end of a Retry-After window, for whoever owns the lane then.

    Not fenced: a window that a replaced owner read holds for its successor too, and can only grow.
    """
    await connection.execute(
        """
        UPDATE lanes SET blocked_until = greatest(blocked_until,
          clock_timestamp() + make_interval(secs => $2::float8))
        WHERE id = $1
        """,
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
    """Keep how the lane's owner found Amazon, for people and for its successor."""
    await connection.execute(
        """
        UPDATE lanes SET learned_rate = $3, breaker = $4, error_rate = $5 WHERE id = $1 AND fence = $2
        """,
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
    """Return what holds for a lane's next request, and when each active destination next owes something.

    What is in flight is left out, or a lane would look due while it waits for its own answer. Batches of a
    (destination, queue) due before its floor are not looked for: see `app.domain.pacing.watermarks`.
    One statement, since every request to Amazon asks it.
    """
    numbers = sorted({number for number, _ in watermarks})
    rows: list[Any]
    damaged: frozenset[DestinationNumber] = frozenset()
    try:
        rows = await connection.fetch(
            _LOOK,
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
    return LanePoll(reduce(RateLimit.lowest, limits) if limits else None, rows[0]["erasures"], queues, unread)


_LOOK = f"""
        SELECT l.erasures, d.number, d.id, d.requests_per_second, d.burst, d.state = 'active' AS is_active,
          {PROBE_DUE} AS is_probe,
          extract(epoch FROM q.live - clock_timestamp())::float8 AS live,
          extract(epoch FROM q.retry - clock_timestamp())::float8 AS retry,
          extract(epoch FROM q.replay - clock_timestamp())::float8 AS replay,
          extract(epoch FROM q.replay_retry - clock_timestamp())::float8 AS replay_retry
        FROM lanes l LEFT JOIN destinations d ON d.lane = l.id AND d.archived_at IS NULL
        LEFT JOIN unnest($5::int[], $6::timestamptz[], $7::timestamptz[]) AS floor (number, live, replay)
          ON floor.number = d.number
        LEFT JOIN LATERAL (SELECT
          (SELECT s.due_at FROM batch_states s WHERE s.destination = d.number
            AND s.queue = 0 AND s.settled_at IS NULL
            AND s.due_at >= coalesce(floor.live, '-infinity') AND s.batch <> ALL($2::bigint[])
            ORDER BY s.due_at LIMIT 1) AS live,
          (SELECT e.due_at FROM exceptions e WHERE e.destination = d.number
            AND e.queue = 0 AND e.status = 'retrying' AND NOT EXISTS (SELECT FROM unnest($3::bigint[],
              $4::smallint[]) AS f (batch, place)
              WHERE f.batch = e.batch AND f.place = e.place)
            ORDER BY e.due_at LIMIT 1) AS retry,
          (SELECT s.due_at FROM batch_states s WHERE s.destination = d.number
            AND s.queue = 2 AND s.settled_at IS NULL
            AND s.due_at >= coalesce(floor.replay, '-infinity') AND s.batch <> ALL($2::bigint[])
            ORDER BY s.due_at LIMIT 1) AS replay,
          (SELECT e.due_at FROM exceptions e WHERE e.destination = d.number
            AND e.queue = 2 AND e.status = 'retrying' AND NOT EXISTS (SELECT FROM unnest($3::bigint[],
              $4::smallint[]) AS f (batch, place)
              WHERE f.batch = e.batch AND f.place = e.place)
            ORDER BY e.due_at LIMIT 1) AS replay_retry) q
          ON d.state = 'active' OR {PROBE_DUE}
        WHERE l.id = $1 ORDER BY d.number
        """


async def pace_settings(connection: PipelineConnection, lane: LaneId) -> PaceSettings:
    """Return the lowest limit among all destinations of a lane that are not archived, and what it learned."""
    row = await connection.fetchrow(
        """
        SELECT l.learned_rate, min(d.requests_per_second) AS rate, min(d.burst) AS burst
        FROM lanes l LEFT JOIN destinations d ON d.lane = l.id AND d.archived_at IS NULL
        WHERE l.id = $1 GROUP BY l.id
        """,
        lane,
    )
    assert row is not None
    limit = None if row["rate"] is None else RateLimit(row["rate"], row["burst"])
    return PaceSettings(limit, row["learned_rate"])


async def announce(connection: PipelineConnection, waiting: dict[LaneId, int]) -> None:
    """Tell all workers that events wait; losing the notice costs at most one poll."""
    parts = [f"{lane}:{events}" for lane, events in waiting.items()]
    # A payload is limited to 8,000 bytes; 400 lanes of at most 18 characters fit.
    for start in range(0, len(parts), 400):
        await connection.execute(
            "SELECT pg_notify($1, $2)", CALLBACK_EVENTS, ",".join(parts[start : start + 400])
        )


def read_notification(payload: str) -> dict[LaneId, int]:
    """Return the lanes and events of a notice; what cannot be read is nobody's loss."""
    waiting: dict[LaneId, int] = {}
    for part in payload.split(","):
        lane, _, events = part.partition(":")
        if lane.isdecimal() and events.isdecimal():
            waiting[LaneId(int(lane))] = int(events)
    return waiting
