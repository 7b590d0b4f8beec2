"""Read the facts from which incidents are computed: requests, waiting events, dead letters, received events.

A statement costs some index probes per destination, regardless of the backlog. For an idle destination it
costs one probe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection
from app.store.alerting import AlertingRow, alerting_row
from app.store.rows import read_row

_STEP = timedelta(seconds=5)  # the time that a row of `intake_steps` covers
_KEEP_STEPS = timedelta(minutes=90)
_PROBED = 50  # the number of batches per queue whose age is read
_MOST_COUNTED = 10_000  # rows per destination; more are not counted


@dataclass(frozen=True, slots=True)
class WatchedDestination:
    """A destination, the state of its lane, and its alerting settings."""

    number: DestinationNumber
    id: str
    organisation: str
    lane: int
    sign_in_reason: str | None
    breaker: str
    is_blocked: bool
    alerting: AlertingRow


async def watched(connection: PipelineConnection) -> list[WatchedDestination]:
    """Return every destination of all organisations, without archived ones."""
    rows = await connection.fetch(
        """
        SELECT d.number, d.id, d.organisation_id AS organisation, d.lane, d.sign_in_reason, l.breaker,
          coalesce(l.blocked_until > now(), false) AS is_blocked,
          a.alerting::text AS alerting, a.channels, a.kinds, a.min_severity
        FROM destinations d JOIN lanes l ON l.id = d.lane
        LEFT JOIN destination_alerting a ON a.destination = d.id
        WHERE d.archived_at IS NULL ORDER BY d.number
        """
    )
    return [read_row(WatchedDestination, row, alerting=alerting_row(row)) for row in rows]


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """The requests, waiting events and open dead letters of one destination.

    `requests` and `failed` count the requests with a result within the window of the incident `failing`.
    """

    number: DestinationNumber
    requests: int = 0
    failed: int = 0
    last_outcome: str | None = None
    success_at: datetime | None = None
    unanswered_since: datetime | None = None
    oldest_live_at: datetime | None = None
    oldest_waiting_at: datetime | None = None
    dead_open: int = 0
    oldest_dead_at: datetime | None = None


async def delivery(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber], windows: Sequence[float]
) -> dict[DestinationNumber, DeliveryFacts]:
    """Return the facts of these destinations by number.

    `windows` has the window of the incident `failing` for each destination, in seconds.
    """
    facts: dict[DestinationNumber, dict[str, Any]] = {number: {"number": number} for number in numbers}
    for rows in (
        await connection.fetch(_REQUESTS, list(numbers), list(windows)),
        await connection.fetch(_WAITING),
        await connection.fetch(_DEAD),
    ):
        for row in rows:
            if row["number"] in facts:  # other destinations are archived
                facts[row["number"]] |= dict(row)
    return {number: DeliveryFacts(**values) for number, values in facts.items()}


_TODAY = "(now() AT TIME ZONE 'UTC')::date"
# The upper limit excludes the empty partitions of later days.
_RECENT_DAYS = f"day BETWEEN {_TODAY} - 1 AND {_TODAY}"
_REQUESTS = f"""
    WITH active AS MATERIALIZED (
      -- Destinations with a recent request. LIMIT makes this one index probe each instead of a join.
      SELECT w.* FROM unnest($1::int[], $2::float8[]) AS w (number, seconds), LATERAL (
        SELECT FROM attempts WHERE destination = w.number AND {_RECENT_DAYS}
          AND started_at > now() - greatest(make_interval(secs => w.seconds + 120), interval '15 minutes')
        LIMIT 1) recent
    )
    SELECT w.number, recent.requests, recent.failed, newest.outcome AS last_outcome,
      success.settled_at AS success_at, recent.unanswered_since
    FROM active w
    -- Requests with a result within the window, and the oldest request without one. A request can start up to
    -- two minutes before the window.
    CROSS JOIN LATERAL (
      SELECT count(outcome) AS requests, count(*) FILTER (WHERE outcome IN ('broken', 'lost')) AS failed,
        min(started_at) FILTER (WHERE outcome IS NULL) AS unanswered_since
      FROM attempts WHERE destination = w.number AND {_RECENT_DAYS}
        AND started_at > now() - make_interval(secs => w.seconds + 120)
        AND (outcome IS NULL
          OR settled_at > now() - make_interval(secs => w.seconds) AND outcome <> 'not_sent')) recent
    -- The last request with a result: if it succeeded, the fault is over.
    LEFT JOIN LATERAL (
      SELECT outcome FROM attempts WHERE destination = w.number AND {_RECENT_DAYS}
        AND started_at > now() - interval '15 minutes' AND settled_at IS NOT NULL AND outcome <> 'not_sent'
      ORDER BY started_at DESC LIMIT 1) newest ON true
    LEFT JOIN LATERAL (
      SELECT settled_at FROM attempts WHERE destination = w.number AND {_RECENT_DAYS}
        AND started_at > now() - interval '15 minutes' AND outcome = 'answered'
      ORDER BY started_at DESC LIMIT 1) success ON true
"""


def _destinations_with(name: str, table: str, condition: str) -> str:
    """Return a recursive CTE of the destinations with a row that meets `condition`.

    It costs one index probe per destination.
    """
    probe = f"SELECT destination FROM {table} WHERE {condition}"
    return f"""{name} AS (
      -- Each step finds the next destination with a row.
      ({probe} ORDER BY destination LIMIT 1)
      UNION ALL
      SELECT ({probe} AND destination > {name}.destination ORDER BY destination LIMIT 1)
      FROM {name} WHERE {name}.destination IS NOT NULL
    )"""


def _front(queue: int) -> str:
    """Return SQL for the times of acceptance of the batches and exceptions of a queue that are due first."""
    return f"""
      SELECT {queue} AS queue, accepted_at FROM (SELECT accepted_at FROM batch_states
        WHERE destination = w.number AND queue = {queue} AND settled_at IS NULL AND events > 0
        ORDER BY due_at LIMIT {_PROBED}) b{queue}
      UNION ALL
      SELECT {queue}, s.accepted_at FROM (SELECT batch, day FROM exceptions
        WHERE destination = w.number AND queue = {queue} AND status = 'retrying'
        ORDER BY due_at LIMIT {_PROBED}) e{queue}
      JOIN batch_states s ON s.batch = e{queue}.batch AND s.day = e{queue}.day"""


_WAITING = f"""
    WITH RECURSIVE {_destinations_with("open_batches", "batch_states", "settled_at IS NULL")},
    {_destinations_with("retries", "exceptions", "status = 'retrying'")}
    SELECT w.number, front.oldest_live_at, front.oldest_waiting_at
    FROM (SELECT destination FROM open_batches UNION SELECT destination FROM retries) AS w (number)
    -- Queue 2 is left out, because replays and backfills may wait.
    CROSS JOIN LATERAL (SELECT min(accepted_at) FILTER (WHERE queue = 0) AS oldest_live_at,
      min(accepted_at) AS oldest_waiting_at FROM ({_front(0)} UNION ALL {_front(1)}) x) front
    WHERE w.number IS NOT NULL
"""
_OPEN_DEAD = "status = 'dead' AND dismissed_at IS NULL"
_DEAD = f"""
    WITH RECURSIVE {_destinations_with("failing", "exceptions", _OPEN_DEAD)}
    SELECT failing.destination AS number, dead.n AS dead_open, first_dead.event_at AS oldest_dead_at
    FROM failing
    CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT FROM exceptions
      WHERE destination = failing.destination AND {_OPEN_DEAD} LIMIT {_MOST_COUNTED}) x) dead
    CROSS JOIN LATERAL (SELECT event_at FROM exceptions
      WHERE destination = failing.destination AND {_OPEN_DEAD} ORDER BY changed_at LIMIT 1) first_dead
    WHERE failing.destination IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class ExpiringEvents:
    """The number of waiting events of a destination that expire soon.

    `first_event_at` is the oldest time of an event. `since` is the earliest time of acceptance.
    """

    events: int
    first_event_at: datetime
    since: datetime


async def expiring(
    connection: PipelineConnection, *, before: datetime
) -> dict[DestinationNumber, ExpiringEvents]:
    """Return the waiting events whose time is before `before`, by destination."""
    rows = await connection.fetch(
        """
        SELECT destination, sum(events)::bigint AS events, min(first) AS first_event_at, min(since) AS since
        FROM (
          SELECT destination, events, last_event AS first, accepted_at AS since FROM batch_states
          WHERE settled_at IS NULL AND events > 0 AND last_event < $1
          UNION ALL
          SELECT e.destination, 1, e.event_at, s.accepted_at FROM exceptions e
          JOIN batch_states s ON s.batch = e.batch AND s.day = e.day
          WHERE e.status = 'retrying' AND e.event_at < $1) x
        GROUP BY destination
        """,
        before,
    )
    return {DestinationNumber(row["destination"]): read_row(ExpiringEvents, row) for row in rows}


async def waiting_events(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber]
) -> dict[DestinationNumber, int]:
    """Return the number of waiting events of each of these destinations. A long queue is counted in part."""
    rows = await connection.fetch(
        f"""
        SELECT n AS number, (coalesce(b.events, 0) + e.events)::bigint AS events
        FROM unnest($1::int[]) AS n
        CROSS JOIN LATERAL (SELECT sum(events) AS events FROM (SELECT events FROM batch_states
          WHERE destination = n AND settled_at IS NULL LIMIT {_MOST_COUNTED}) x) b
        CROSS JOIN LATERAL (SELECT count(*) AS events FROM (SELECT FROM exceptions
          WHERE destination = n AND status = 'retrying' LIMIT {_MOST_COUNTED}) x) e
        """,
        list(numbers),
    )
    return {DestinationNumber(row["number"]): row["events"] for row in rows}


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """Whether a worker owns a lane now, the latest end of any lease, and the oldest sendable batch.

    `oldest_sendable_at` is the time at which the oldest sendable batch was accepted.
    """

    is_leased: bool
    lapsed_at: datetime | None
    oldest_sendable_at: datetime | None


async def workers(connection: PipelineConnection) -> WorkerFacts:
    """Return whether a worker owns a lane, and how long sendable batches have waited."""
    row = await connection.fetchrow(
        f"""
        WITH RECURSIVE {_destinations_with("open_batches", "batch_states", "settled_at IS NULL")}
        SELECT EXISTS (SELECT FROM lanes WHERE leased_until > now()) AS is_leased,
          (SELECT max(leased_until) FROM lanes) AS lapsed_at,
          (SELECT min(front.accepted_at) FROM open_batches o JOIN destinations d ON d.number = o.destination,
           LATERAL (SELECT accepted_at FROM batch_states
             WHERE settled_at IS NULL AND destination = d.number AND events > 0 AND due_at <= now()
             ORDER BY queue, due_at LIMIT 1) front
           WHERE d.state = 'active') AS oldest_sendable_at
        """
    )
    assert row is not None
    return read_row(WorkerFacts, row)


async def record_intake(connection: PipelineConnection) -> None:
    """Add the events received since the last call to `intake_steps`, in the caller's transaction."""
    await connection.execute(
        """
        WITH totals AS (
          -- The current counts of today and yesterday.
          SELECT d.organisation_id, c.destination, c.day,
            sum(c.accepted + c.duplicates + c.rejected)::bigint AS received,
            sum(c.rejected)::bigint AS rejected
          FROM destinations d JOIN counts c ON c.destination = d.number
            AND c.day >= (now() AT TIME ZONE 'UTC')::date - 1
          WHERE d.archived_at IS NULL GROUP BY 1, 2, 3
        ), changes AS (
          -- The increase since the last call.
          SELECT t.organisation_id, t.destination, sum(t.received - coalesce(o.received, 0)) AS received,
            sum(t.rejected - coalesce(o.rejected, 0)) AS rejected
          FROM totals t LEFT JOIN intake_totals o ON o.destination = t.destination AND o.day = t.day
          GROUP BY 1, 2 HAVING sum(t.received - coalesce(o.received, 0)) > 0
        ), remembered AS (
          -- The current counts, for the next call.
          INSERT INTO intake_totals AS o (organisation_id, destination, day, received, rejected)
          SELECT * FROM totals ON CONFLICT (destination, day)
          DO UPDATE SET received = excluded.received, rejected = excluded.rejected
          WHERE o.received <> excluded.received
        )
        INSERT INTO intake_steps AS s (organisation_id, destination, at, received, rejected)
        SELECT organisation_id, destination, date_bin($1, now(), TIMESTAMPTZ '2000-01-01'), received, rejected
        FROM changes ON CONFLICT (destination, at)
        DO UPDATE SET received = s.received + excluded.received, rejected = s.rejected + excluded.rejected
        """,
        _STEP,
    )


async def forget_intake(connection: PipelineConnection) -> None:
    """Delete the rows of `intake_steps` and `intake_totals` that are no longer read."""
    await connection.execute("DELETE FROM intake_steps WHERE at < now() - $1::interval", _KEEP_STEPS)
    await connection.execute("DELETE FROM intake_totals WHERE day < (now() AT TIME ZONE 'UTC')::date - 2")


@dataclass(frozen=True, slots=True)
class IntakeFacts:
    """The events that a destination received and rejected within a window.

    `rejected_recently` counts the events that it rejected within the last ten seconds.
    """

    received: int
    rejected: int
    rejected_recently: int


async def intake(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber], windows: Sequence[float]
) -> dict[DestinationNumber, IntakeFacts]:
    """Return the events that each of these destinations received within its window.

    `windows` has the length of each destination's window in seconds. A destination that received no event has
    no entry.
    """
    rows = await connection.fetch(
        """
        SELECT w.number, s.received, s.rejected, s.rejected_recently
        FROM unnest($1::int[], $2::float8[]) AS w (number, seconds)
        CROSS JOIN LATERAL (
          SELECT sum(received)::bigint AS received, sum(rejected)::bigint AS rejected,
            (coalesce(sum(rejected) FILTER (WHERE at > now() - interval '10 seconds'), 0))::bigint
              AS rejected_recently
          FROM intake_steps WHERE destination = w.number AND at > now() - make_interval(secs => w.seconds)) s
        WHERE s.received > 0
        """,
        list(numbers),
        list(windows),
    )
    return {DestinationNumber(row["number"]): read_row(IntakeFacts, row) for row in rows}


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """The events of the last complete hour, and of the same hour on up to fourteen earlier days.

    `days` is the number of days for which the destination has data.
    """

    last_hour: int
    same_hours: tuple[int, ...]
    days: int


async def volumes(connection: PipelineConnection) -> dict[DestinationNumber, VolumeFacts]:
    """Return the hourly volumes of each destination that has data of at least seven days."""
    rows = await connection.fetch(
        """
        WITH first AS MATERIALIZED (
          -- The first hour with data of each destination.
          SELECT d.number AS destination, h.at AS hour FROM destinations d CROSS JOIN LATERAL (
            SELECT at FROM outcome_history WHERE destination = d.number AND bucket_seconds = 3600
            ORDER BY at LIMIT 1) h
          WHERE d.archived_at IS NULL AND h.at <= date_trunc('hour', now()) - interval '7 days'
        ), hours AS (
          -- The last complete hour and the same hour of the days before.
          SELECT n AS days_ago, date_trunc('hour', now()) - interval '1 hour' - make_interval(days => n) AS at
          FROM generate_series(0, 14) n
        ), volumes AS (
          -- The events of every destination in these hours.
          SELECT h.destination, hours.days_ago, h.events FROM hours CROSS JOIN LATERAL (
            SELECT destination, accepted + duplicates + rejected AS events FROM outcome_history
            -- OFFSET keeps Postgres from planning a join that scans the complete history.
            WHERE bucket_seconds = 3600 AND at = hours.at OFFSET 0) h
        )
        SELECT f.destination, extract(day FROM now() - f.hour)::int AS days,
          coalesce(sum(v.events) FILTER (WHERE v.days_ago = 0), 0)::bigint AS last_hour,
          coalesce(array_agg(v.events) FILTER (WHERE v.days_ago > 0), '{}') AS same_hours,
          (SELECT count(*) FROM hours WHERE days_ago > 0 AND at >= f.hour)::int AS hours
        FROM first f LEFT JOIN volumes v ON v.destination = f.destination
        GROUP BY f.destination, f.hour
        """
    )
    return {
        DestinationNumber(row["destination"]): VolumeFacts(
            row["last_hour"],
            # An hour without a row had no event.
            (*row["same_hours"], *[0] * (row["hours"] - len(row["same_hours"]))),
            row["days"],
        )
        for row in rows
    }
