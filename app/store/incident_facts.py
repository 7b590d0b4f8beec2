"""The input of incidents: requests, waiting events, dead letters and received events.

Each statement costs some index probes per destination, regardless of the backlog.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection
from app.store.alerting import AlertingRow, alerting_row

_STEP = timedelta(seconds=5)  # of `intake_steps`
_KEEP_STEPS = timedelta(minutes=90)
_PROBED = 50  # number of batches per queue whose age is read
_MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class WatchedDestination:
    """A destination that is not archived, its lane, and its alerting."""

    number: DestinationNumber
    id: str
    organisation: str
    lane: int
    sign_in_reason: str | None
    breaker: str
    is_blocked: bool
    alerting: AlertingRow


async def watched(connection: PipelineConnection) -> list[WatchedDestination]:
    """Return every destination that is not archived."""
    rows = await connection.fetch(
        """
        SELECT d.number, d.id, d.organisation_id, d.lane, d.sign_in_reason, l.breaker,
          coalesce(l.blocked_until > now(), false) AS is_blocked,
          a.alerting::text AS alerting, a.channels, a.kinds, a.min_severity
        FROM destinations d JOIN lanes l ON l.id = d.lane
        LEFT JOIN destination_alerting a ON a.destination = d.id
        WHERE d.archived_at IS NULL ORDER BY d.number
        """
    )
    return [
        WatchedDestination(
            DestinationNumber(row["number"]),
            row["id"],
            row["organisation_id"],
            row["lane"],
            row["sign_in_reason"],
            row["breaker"],
            row["is_blocked"],
            alerting_row(row),
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """The requests and the waiting events of one destination."""

    number: DestinationNumber
    requests: int
    failed: int
    last_outcome: str | None
    success_at: datetime | None
    oldest_live_at: datetime | None
    oldest_waiting_at: datetime | None
    dead_open: int
    oldest_dead_at: datetime | None


async def delivery(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber], windows: Sequence[float]
) -> dict[DestinationNumber, DeliveryFacts]:
    """Return the facts of these destinations; `windows` are the windows of the kind `failing`, in seconds."""
    rows = await connection.fetch(_DELIVERY, list(numbers), list(windows))
    return {row["number"]: DeliveryFacts(**dict(row)) for row in rows}


_RECENT_DAYS = "day >= (now() AT TIME ZONE 'UTC')::date - 1"


def _oldest(queue: int) -> str:
    """Return SQL for the age of a queue: the oldest of the batches and exceptions that are due first."""
    return f"""
      SELECT accepted_at FROM (SELECT accepted_at FROM batch_states
        WHERE destination = w.number AND queue = {queue} AND settled_at IS NULL AND events > 0
        ORDER BY due_at LIMIT {_PROBED}) b{queue}
      UNION ALL
      SELECT s.accepted_at FROM (SELECT batch, day FROM exceptions
        WHERE destination = w.number AND queue = {queue} AND status = 'retrying'
        ORDER BY due_at LIMIT {_PROBED}) e{queue}
      JOIN batch_states s ON s.batch = e{queue}.batch AND s.day = e{queue}.day"""


_DELIVERY = f"""
    SELECT w.number, recent.requests, recent.failed, newest.outcome AS last_outcome, success.settled_at
        AS success_at, live.at AS oldest_live_at, waiting.at AS oldest_waiting_at,
      dead.n AS dead_open, first_dead.event_at AS oldest_dead_at
    FROM unnest($1::int[], $2::float8[]) AS w (number, seconds)
    -- Requests settled within the window; a request may have started some minutes before.
    CROSS JOIN LATERAL (
      SELECT count(*) AS requests, count(*) FILTER (WHERE outcome IN ('broken', 'lost')) AS failed
      FROM attempts WHERE destination = w.number AND {_RECENT_DAYS}
        AND started_at > now() - make_interval(secs => w.seconds + 120)
        AND settled_at > now() - make_interval(secs => w.seconds) AND outcome <> 'not_sent') recent
    -- The last request: a fault is over when it succeeded.
    LEFT JOIN LATERAL (
      SELECT outcome FROM attempts WHERE destination = w.number AND {_RECENT_DAYS}
        AND started_at > now() - interval '15 minutes' AND settled_at IS NOT NULL AND outcome <> 'not_sent'
      ORDER BY started_at DESC LIMIT 1) newest ON true
    LEFT JOIN LATERAL (
      SELECT settled_at FROM attempts WHERE destination = w.number AND {_RECENT_DAYS}
        AND started_at > now() - interval '15 minutes' AND outcome = 'answered'
      ORDER BY started_at DESC LIMIT 1) success ON true
    CROSS JOIN LATERAL (SELECT min(accepted_at) AS at FROM ({_oldest(0)}) x) live
    -- Without queue 2: replays and backfills may wait.
    CROSS JOIN LATERAL (SELECT min(accepted_at) AS at FROM ({_oldest(0)} UNION ALL {_oldest(1)}) x) waiting
    CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT FROM exceptions
      WHERE destination = w.number AND status = 'dead' AND dismissed_at IS NULL
      LIMIT {_MOST_COUNTED}) x) dead
    LEFT JOIN LATERAL (SELECT event_at FROM exceptions
      WHERE destination = w.number AND status = 'dead' AND dismissed_at IS NULL
      ORDER BY changed_at LIMIT 1) first_dead ON true
"""


@dataclass(frozen=True, slots=True)
class ExpiringEvents:
    """Waiting events of a destination that expire soon. `first_event_at` is the oldest time of an event."""

    events: int
    first_event_at: datetime
    since: datetime


async def expiring(
    connection: PipelineConnection, *, before: datetime
) -> dict[DestinationNumber, ExpiringEvents]:
    """Return the waiting events with a time before `before`, by destination."""
    rows = await connection.fetch(
        """
        SELECT destination, sum(events)::bigint AS events, min(first) AS first, min(since) AS since FROM (
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
    return {
        DestinationNumber(row["destination"]): ExpiringEvents(row["events"], row["first"], row["since"])
        for row in rows
    }


async def waiting_events(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber]
) -> dict[DestinationNumber, int]:
    """Return the numbers of waiting events of these destinations; a long queue is counted in part."""
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
    """Whether a worker has a lease, the end of the last expired one, and the oldest sendable event."""

    is_leased: bool
    lapsed_at: datetime | None
    oldest_sendable_at: datetime | None


async def workers(connection: PipelineConnection) -> WorkerFacts:
    """Return whether any worker has a lane, and the start of the oldest sendable live batch's wait."""
    row = await connection.fetchrow(
        """
        SELECT EXISTS (SELECT FROM lanes WHERE leased_until > now()) AS is_leased,
          (SELECT max(leased_until) FROM lanes) AS lapsed_at,
          (SELECT min(front.accepted_at) FROM destinations d, LATERAL (
             SELECT accepted_at FROM batch_states
             WHERE settled_at IS NULL AND destination = d.number AND events > 0 AND due_at <= now()
             ORDER BY queue, due_at LIMIT 1) front
           WHERE d.state = 'active') AS oldest_sendable_at
        """
    )
    assert row is not None
    return WorkerFacts(**dict(row))


async def record_intake(connection: PipelineConnection) -> None:
    """Add the events received since the last call to the steps. The caller opens the transaction."""
    await connection.execute(
        """
        WITH totals AS (
          -- The counts of today and yesterday.
          SELECT d.organisation_id, c.destination, c.day,
            sum(c.accepted + c.duplicates + c.rejected)::bigint AS received,
            sum(c.rejected)::bigint AS rejected
          FROM destinations d JOIN counts c ON c.destination = d.number
            AND c.day >= (now() AT TIME ZONE 'UTC')::date - 1
          WHERE d.archived_at IS NULL GROUP BY 1, 2, 3
        ), changes AS (
          -- Compared with the last recording.
          SELECT t.organisation_id, t.destination, sum(t.received - coalesce(o.received, 0)) AS received,
            sum(t.rejected - coalesce(o.rejected, 0)) AS rejected
          FROM totals t LEFT JOIN intake_totals o ON o.destination = t.destination AND o.day = t.day
          GROUP BY 1, 2 HAVING sum(t.received - coalesce(o.received, 0)) > 0
        ), remembered AS (
          -- The input of the next comparison.
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
    """Delete steps and totals that are no longer read."""
    await connection.execute("DELETE FROM intake_steps WHERE at < now() - $1::interval", _KEEP_STEPS)
    await connection.execute("DELETE FROM intake_totals WHERE day < (now() AT TIME ZONE 'UTC')::date - 2")


@dataclass(frozen=True, slots=True)
class IntakeFacts:
    """The events that a destination received within a window; `recently` are the last ten seconds."""

    received: int
    rejected: int
    rejected_recently: int


async def intake(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber], windows: Sequence[float]
) -> dict[DestinationNumber, IntakeFacts]:
    """Return the events that these destinations received within `windows` (seconds), without idle ones."""
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
    return {
        DestinationNumber(row["number"]): IntakeFacts(
            row["received"], row["rejected"], row["rejected_recently"]
        )
        for row in rows
    }


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """The events of the last complete hour, of the same hour on the days before, and the days of data."""

    last_hour: int
    same_hours: tuple[int, ...]
    days: int


async def volumes(connection: PipelineConnection) -> dict[DestinationNumber, VolumeFacts]:
    """Return the hourly volumes of destinations with data of at least seven days."""
    rows = await connection.fetch(
        """
        WITH first AS (
          -- The first hour with data: one index probe per destination.
          SELECT d.number AS destination, h.at AS hour FROM destinations d CROSS JOIN LATERAL (
            SELECT at FROM outcome_history WHERE destination = d.number AND bucket_seconds = 3600
            ORDER BY at LIMIT 1) h
          WHERE d.archived_at IS NULL AND h.at <= date_trunc('hour', now()) - interval '7 days')
        SELECT f.destination, extract(day FROM now() - f.hour)::int AS days,
          coalesce((SELECT accepted + duplicates + rejected FROM outcome_history h
            WHERE h.destination = f.destination AND h.bucket_seconds = 3600
              AND h.at = date_trunc('hour', now()) - interval '1 hour'), 0) AS last_hour,
          -- An hour without a row had no event.
          ARRAY(SELECT coalesce(h.accepted + h.duplicates + h.rejected, 0) FROM generate_series(1, 14) AS n
            LEFT JOIN outcome_history h ON h.destination = f.destination AND h.bucket_seconds = 3600
              AND h.at = date_trunc('hour', now()) - interval '1 hour' - make_interval(days => n::int)
            WHERE date_trunc('hour', now()) - interval '1 hour' - make_interval(days => n::int) >= f.hour)
            AS same_hours
        FROM first f
        """
    )
    return {
        DestinationNumber(row["destination"]): VolumeFacts(
            row["last_hour"], tuple(row["same_hours"]), row["days"]
        )
        for row in rows
    }
