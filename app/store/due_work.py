"""Read which lanes have due events, and when the next events of each destination of a lane are due.

Usually one statement reads many destinations. If a page is damaged, that statement fails. A statement for
each destination then replaces it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any, NamedTuple

from app.domain.destination import RequestRate
from app.domain.ids import DestinationId, DestinationNumber, LaneId
from app.domain.pacing.order import WorkKind
from app.store import PipelineConnection, fetch_rows, lanes, transactions, transposed
from app.store.database import damage


class InFlight(NamedTuple):
    """What a lane has in flight, as parameters: batches, and exceptions by batch and place."""

    batches: list[int]
    exception_batches: list[int]
    exception_places: list[int]


class PaceSettings(NamedTuple):
    """The lowest rate limit of a lane's connected destinations, and the rate that its owner reported."""

    limit: RequestRate | None
    learned_rate: float | None


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

    limit: RequestRate | None
    erasures: int
    rates_elsewhere: tuple[float, ...]
    queues: tuple[DestinationQueue, ...]
    damaged: tuple[DestinationQueue, ...] = ()


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


def _heads_of(destination: str) -> str:
    """Return SQL for one row with the time at which each kind of work of a destination is next due.

    Each time costs one index probe. The parameters are the batches in flight ($2), and the batches and places
    of exceptions in flight ($3, $4). Batches due before the times of a watermark are not searched. The
    statement around it must have a row `watermark` with `live` and `replay`; NULL searches all.
    """

    def batch(queue: int, kind: str) -> str:
        return f"""(SELECT s.due_at FROM batch_states s WHERE s.destination = {destination}
            AND s.queue = {queue} AND s.settled_at IS NULL
            AND s.due_at >= coalesce(watermark.{kind}, '-infinity') AND s.batch <> ALL($2::bigint[])
            ORDER BY s.due_at LIMIT 1)"""

    def exception(queue: int) -> str:
        return f"""(SELECT e.due_at FROM exceptions e WHERE e.destination = {destination}
            AND e.queue = {queue} AND e.status = 'retrying' AND NOT EXISTS (SELECT FROM unnest($3::bigint[],
              $4::smallint[]) AS f (batch, place) WHERE f.batch = e.batch AND f.place = e.place)
            ORDER BY e.due_at LIMIT 1)"""

    return f"""SELECT {batch(0, "live")} AS live, {exception(0)} AS retry,
        {batch(2, "replay")} AS replay, {exception(2)} AS replay_retry"""


# The seconds until each time of a row `q` of `_heads_of`.
_SECONDS_LEFT = ", ".join(
    f"extract(epoch FROM q.{kind} - clock_timestamp())::float8 AS {kind}" for kind in WorkKind
)
_HEADS = f"""
    SELECT {_SECONDS_LEFT}, least(q.live, q.retry, q.replay, q.replay_retry) AS due_at
    -- No watermarks: after damage every due batch is searched.
    FROM (SELECT NULL::timestamptz AS live, NULL::timestamptz AS replay) AS watermark,
      LATERAL ({_heads_of("$1")}) q
"""
_NOTHING: Mapping[str, Any] = dict.fromkeys((*WorkKind, "due_at"))

# Whether the next probe of a destination `d` is due. `d` waits because Amazon does not know its endpoint.
PROBE_DUE = """(d.state = 'needs_reconnect' AND d.sign_in_reason = 'endpoint_not_found'
            AND d.endpoint_probe_at <= clock_timestamp())"""
# Whether a destination `d` sends events or a probe. Only then its rate limit holds for its lane: a draft, for
# example, limits no other destination. One that is connected has no published mapping, but may have events of
# deleted ones.
IS_LIMITING = f"(d.state IN ('connected', 'active') OR {PROBE_DUE})"
# What the poll of a lane `l` reads, with a row for each of its destinations `d`.
_POLL_COLUMNS = f"""l.erasures, elsewhere.rates AS rates_elsewhere, d.number, d.id, d.requests_per_second,
          d.burst, {PROBE_DUE} AS is_probe"""
_POLL_TABLES = f"""lanes l CROSS JOIN LATERAL (
          -- The rates of other organisations that Amazon limits on this account: with a 429 within a minute.
          -- A lane with a longer Retry-After sends nothing, so it needs no share.
          SELECT coalesce(array_agg(o.learned_rate), '{{}}') AS rates FROM lanes o
          WHERE o.region = l.region AND o.advertiser_id = l.advertiser_id AND o.id <> l.id
            AND o.learned_rate IS NOT NULL
            AND abs(extract(epoch FROM o.blocked_until - clock_timestamp())) < 60
            AND EXISTS (SELECT FROM destinations s WHERE s.lane = o.id AND s.state = 'active')) elsewhere
        -- LEFT JOIN: a lane without connected destinations still has its number of erasures.
        LEFT JOIN destinations d ON d.lane = l.id AND {IS_LIMITING}"""


async def busy_lanes(connection: PipelineConnection) -> list[LaneWork]:
    """Return each lane that has sendable work or an owner, with one statement for any number of lanes.

    A lane is free if it has no lease, if its lease has expired, or if its owner's session has ended.
    """
    async with damage.tolerated(connection):
        return await fetch_rows(connection, LaneWork, _BUSY, lanes.LANE_LOCKS)
    owed = await _owed_around_damage(connection)
    columns = list(owed), list(owed.values())
    return await fetch_rows(connection, LaneWork, _BUSY_AROUND_DAMAGE, lanes.LANE_LOCKS, *columns)


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
      JOIN destinations d ON d.number = h.destination AND {IS_LIMITING}
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
    SELECT id AS lane, owner, due_in, is_lapsed FROM lane_work
    WHERE owner IS NOT NULL OR due_in IS NOT NULL ORDER BY id
"""


_BUSY = _busy(_OWED)
_BUSY_AROUND_DAMAGE = _busy(
    "owed AS (SELECT * FROM unnest($2::int[], $3::timestamptz[]) AS o (lane, due_at))"
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
    (`app.domain.pacing.order`).
    """
    in_flight = InFlight(list(batches_in_flight), *transposed(exceptions_in_flight, 2))
    numbers = sorted({number for number, _ in watermarks})
    live, replay = [[watermarks.get((number, queue)) for number in numbers] for queue in (0, 2)]
    rows: list[Any] | None = None
    damaged: set[DestinationNumber] = set()
    async with damage.tolerated(connection):
        rows = await connection.fetch(_POLL, lane, *in_flight, numbers, live, replay)
    if rows is None:
        rows, damaged = await _poll_around_damage(connection, lane, in_flight)
    limiting = [row for row in rows if row["number"] is not None]
    limits = [RequestRate(row["requests_per_second"], row["burst"]) for row in limiting]
    queues: list[DestinationQueue] = []
    for row in limiting:
        due_in = {kind: row[kind.value] for kind in WorkKind if row[kind.value] is not None}
        queues.append(DestinationQueue(row["number"], row["id"], due_in, row["is_probe"]))
    unread = tuple([queue for queue in queues if queue.number in damaged])
    limit = reduce(RequestRate.lowest, limits) if limits else None
    return LanePoll(limit, rows[0]["erasures"], tuple(rows[0]["rates_elsewhere"]), tuple(queues), unread)


_POLL = f"""
        SELECT {_POLL_COLUMNS}, {_SECONDS_LEFT}
        FROM {_POLL_TABLES}
        LEFT JOIN unnest($5::int[], $6::timestamptz[], $7::timestamptz[]) AS watermark (number, live, replay)
          ON watermark.number = d.number
        LEFT JOIN LATERAL ({_heads_of("d.number")}) q
          ON true
        WHERE l.id = $1 ORDER BY d.number
        """


async def pace_settings(connection: PipelineConnection, lane: LaneId) -> PaceSettings:
    """Return the rate limit and the learned rate of a lane."""
    statement = f"""
        SELECT l.learned_rate, min(d.requests_per_second) AS rate, min(d.burst) AS burst
        -- LEFT JOIN: a lane without connected destinations still has a learned rate.
        FROM lanes l LEFT JOIN destinations d ON d.lane = l.id AND {IS_LIMITING}
        WHERE l.id = $1 GROUP BY l.id
        """
    [row] = await connection.fetch(statement, lane)
    limit = None if row["rate"] is None else RequestRate(row["rate"], row["burst"])
    return PaceSettings(limit, row["learned_rate"])


async def _owed_around_damage(connection: PipelineConnection) -> dict[LaneId, datetime]:
    """Return the time at which each lane next has due events. Unreadable events count as due now."""
    owed: dict[LaneId, datetime] = {}
    async with connection.transaction():
        now: datetime = await transactions.started_at(connection)
        for row in await connection.fetch(f"SELECT number, lane FROM destinations d WHERE {IS_LIMITING}"):
            found = await _due_times(connection, row["number"], InFlight([], [], []))
            due_at = now if found is None else found["due_at"]
            if due_at is not None:
                owed[row["lane"]] = min(due_at, owed.get(row["lane"], due_at))
    return owed


async def _poll_around_damage(
    connection: PipelineConnection, lane: LaneId, in_flight: InFlight
) -> tuple[list[dict[str, Any]], set[DestinationNumber]]:
    """Return the rows of a lane's poll, and the destinations whose due events cannot be read."""
    rows: list[dict[str, Any]] = []
    damaged: set[DestinationNumber] = set()
    async with connection.transaction():
        for row in await connection.fetch(
            f"SELECT {_POLL_COLUMNS} FROM {_POLL_TABLES} WHERE l.id = $1 ORDER BY d.number", lane
        ):
            found: Mapping[str, Any] | None = _NOTHING
            if row["number"] is not None:
                found = await _due_times(connection, row["number"], in_flight)
            if found is None:
                damaged.add(DestinationNumber(row["number"]))
            rows.append({**row, **(found or _NOTHING)})
    return rows, damaged


async def _due_times(
    connection: PipelineConnection, destination: DestinationNumber, in_flight: InFlight
) -> Mapping[str, Any] | None:
    """Return the row of `_HEADS` for a destination, or None if its events cannot be read."""
    async with damage.tolerated(connection):
        [found] = await connection.fetch(_HEADS, destination, *in_flight)
        return dict(found)
    return None
