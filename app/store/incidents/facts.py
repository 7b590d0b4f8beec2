"""Read the facts from which incidents are computed: requests, waiting events, dead letters, workers.

A statement costs some index probes per destination, regardless of the backlog. For an idle destination it
costs one probe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection
from app.store.incidents.alerting import AlertingRow, alerting_row
from app.store.rows import read_row

_PROBED = 50  # the number of batches per queue whose age is read
_MOST_COUNTED = 10_000  # rows per destination; more are not counted


@dataclass(frozen=True, slots=True)
class WatchedDestination:
    """A destination, the state of its lane, and its alerting settings.

    `no_token_since` is the expiry of an access token whose refresh was tried, but did not succeed.
    """

    number: DestinationNumber
    id: str
    organisation: str
    lane: int
    sign_in_reason: str | None
    breaker: str
    is_blocked: bool
    is_paused: bool
    no_token_since: datetime | None
    alerting: AlertingRow


async def watched(connection: PipelineConnection) -> list[WatchedDestination]:
    """Return every destination of all organisations, without archived ones."""
    rows = await connection.fetch(
        """
        SELECT d.number, d.id, d.organisation_id AS organisation, d.lane, d.sign_in_reason, l.breaker,
          coalesce(l.blocked_until > now(), false) AS is_blocked, d.state = 'paused' AS is_paused,
          CASE WHEN d.state = 'active' AND s.refresh_until IS NOT NULL
            AND coalesce(s.access_until, s.connected_at) < now()
            THEN coalesce(s.access_until, s.connected_at) END AS no_token_since,
          a.alerting::text AS alerting, a.channels, a.kinds, a.min_severity
        FROM destinations d JOIN lanes l ON l.id = d.lane
        LEFT JOIN sign_ins s ON s.destination = d.id
        LEFT JOIN destination_alerting a ON a.destination = d.id
        WHERE d.archived_at IS NULL ORDER BY d.number
        """
    )
    return [read_row(WatchedDestination, row, alerting=alerting_row(row)) for row in rows]


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """The requests, waiting events and open dead letters of one destination.

    `requests` and `failed` count the requests with a result within the window of the incident `failing`.
    `silent_since` is the start of the oldest request without a response since the newest response.
    """

    number: DestinationNumber
    requests: int = 0
    failed: int = 0
    last_outcome: str | None = None
    last_status: int | None = None
    success_at: datetime | None = None
    unanswered_since: datetime | None = None
    silent_since: datetime | None = None
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
      newest.http_status AS last_status, success.settled_at AS success_at, recent.unanswered_since,
      silent.since AS silent_since
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
      SELECT outcome, http_status FROM attempts WHERE destination = w.number AND {_RECENT_DAYS}
        AND started_at > now() - interval '15 minutes' AND settled_at IS NOT NULL AND outcome <> 'not_sent'
      ORDER BY started_at DESC LIMIT 1) newest ON true
    LEFT JOIN LATERAL (
      SELECT settled_at FROM attempts WHERE destination = w.number AND {_RECENT_DAYS}
        AND started_at > now() - interval '15 minutes' AND outcome = 'answered'
      ORDER BY started_at DESC LIMIT 1) success ON true
    -- The newest request with a response, and the first one after it.
    LEFT JOIN LATERAL (
      SELECT started_at FROM attempts WHERE destination = w.number AND {_RECENT_DAYS}
        AND started_at > now() - interval '15 minutes' AND outcome NOT IN ('lost', 'not_sent')
      ORDER BY started_at DESC LIMIT 1) heard ON true
    CROSS JOIN LATERAL (
      SELECT min(started_at) AS since FROM attempts WHERE destination = w.number AND {_RECENT_DAYS}
        AND started_at > coalesce(heard.started_at, now() - interval '15 minutes')
        AND (outcome IS NULL OR outcome = 'lost')) silent
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
    SELECT failing.destination AS number, dead.n AS dead_open, first_dead.accepted_at AS oldest_dead_at
    FROM failing
    CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT FROM exceptions
      WHERE destination = failing.destination AND {_OPEN_DEAD} LIMIT {_MOST_COUNTED}) x) dead
    CROSS JOIN LATERAL (SELECT min(s.accepted_at) AS accepted_at FROM (SELECT batch, day FROM exceptions
      WHERE destination = failing.destination AND {_OPEN_DEAD} ORDER BY changed_at LIMIT {_PROBED}) x
      JOIN batch_states s ON s.batch = x.batch AND s.day = x.day) first_dead
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


@dataclass(frozen=True, slots=True)
class WaitingFacts:
    """The number of waiting events of a destination, and the time of the oldest of them."""

    events: int
    first_event_at: datetime | None


async def waiting_events(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber]
) -> dict[DestinationNumber, WaitingFacts]:
    """Return the waiting events of each of these destinations. A long queue is counted in part."""
    rows = await connection.fetch(
        f"""
        SELECT n AS number, (coalesce(b.events, 0) + e.events)::bigint AS events,
          least(b.first, e.first) AS first_event_at
        FROM unnest($1::int[]) AS n
        CROSS JOIN LATERAL (SELECT sum(events) AS events, min(first_event) FILTER (WHERE events > 0) AS first
          FROM (SELECT events, first_event FROM batch_states
            WHERE destination = n AND settled_at IS NULL LIMIT {_MOST_COUNTED}) x) b
        CROSS JOIN LATERAL (SELECT count(*) AS events, min(event_at) AS first FROM (
          SELECT event_at FROM exceptions
          WHERE destination = n AND status = 'retrying' LIMIT {_MOST_COUNTED}) x) e
        """,
        list(numbers),
    )
    return {DestinationNumber(row["number"]): read_row(WaitingFacts, row) for row in rows}


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
