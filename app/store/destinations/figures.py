"""Read a destination's figures for the console: rates, response times, requests and failures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from app.domain.batch import EventMetadata, read_shapes
from app.domain.ids import DestinationNumber
from app.store import PipelineConnection
from app.store.database import damage
from app.store.database.partitions import STORED
from app.store.rows import read_row

# An attempt that failed before anything was sent does not count as a request
# (`app.domain.outcomes.outcome.NotSent`).
_WAS_SENT = "outcome IS DISTINCT FROM 'not_sent'"


@dataclass(frozen=True, slots=True)
class ResponseTimes:
    """The median and the 95th percentile of Amazon's response times in a time bucket that begins at `at`."""

    at: datetime
    p50_ms: float
    p95_ms: float


_PARTS, _SAMPLED = 4, 50  # parts of a bucket, and requests that are read from each part


async def response_times(
    connection: PipelineConnection, destination: DestinationNumber, *, since: datetime, bucket: timedelta
) -> list[ResponseTimes]:
    """Return the response times of a destination for each bucket with a request.

    To limit the cost, only the first 50 requests of each quarter of a bucket are read.
    """
    rows = await connection.fetch(
        """
        SELECT part.bucket_at AS at, percentile_cont(0.5) WITHIN GROUP (ORDER BY a.duration_ms) AS p50_ms,
          percentile_cont(0.95) WITHIN GROUP (ORDER BY a.duration_ms) AS p95_ms
        FROM (
          SELECT b AS bucket_at, b + n * $3::interval / $4 AS begins, b + (n + 1) * $3::interval / $4 AS ends
          FROM generate_series($2::timestamptz, now(), $3::interval) AS b, generate_series(0, $4 - 1) AS n
        ) part
        CROSS JOIN LATERAL (
          SELECT duration_ms FROM attempts
          -- The days let Postgres skip the other partitions.
          WHERE destination = $1 AND day BETWEEN (part.begins AT TIME ZONE 'UTC')::date
              AND (part.ends AT TIME ZONE 'UTC')::date
            AND started_at >= part.begins AND started_at < part.ends AND duration_ms IS NOT NULL
          ORDER BY started_at LIMIT $5) a
        GROUP BY 1 ORDER BY 1
        """,
        destination,
        since,
        bucket,
        _PARTS,
        _SAMPLED,
    )
    return [read_row(ResponseTimes, row) for row in rows]


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request to Amazon with its result."""

    started_at: datetime
    outcome: str
    http_status: int | None
    message: str | None
    events: int
    duration_ms: int | None


async def requests(
    connection: PipelineConnection, destination: DestinationNumber, limit: int
) -> list[RequestRow]:
    """Return the newest requests of a destination that have a result, newest first."""
    rows = await connection.fetch(
        "SELECT started_at, outcome, http_status, message, events, duration_ms FROM attempts "
        f"WHERE destination = $1 AND settled_at IS NOT NULL AND {_WAS_SENT} "
        "ORDER BY started_at DESC LIMIT $2",
        destination,
        limit,
    )
    return [read_row(RequestRow, row) for row in rows]


@dataclass(frozen=True, slots=True)
class FailureRun:
    """The failed requests since the last success: the start of the first, and their number."""

    since: datetime
    requests: int


async def failure_run(connection: PipelineConnection, destination: DestinationNumber) -> FailureRun | None:
    """Return the failed requests since the last successful request, or None if the last one succeeded."""
    row = await connection.fetchrow(
        "SELECT min(started_at) AS since, count(*) AS requests FROM attempts "
        f"WHERE destination = $1 AND settled_at IS NOT NULL AND {_WAS_SENT} AND started_at > coalesce("
        "  (SELECT started_at FROM attempts WHERE destination = $1 AND outcome = 'answered' "
        "   ORDER BY started_at DESC LIMIT 1), '-infinity')",
        destination,
    )
    assert row is not None
    return FailureRun(row["since"], row["requests"]) if row["requests"] else None


async def first_answer(connection: PipelineConnection, destination: DestinationNumber) -> datetime | None:
    """Return when Amazon first answered a request of a destination, among the stored requests."""
    found: datetime | None = await connection.fetchval(
        "SELECT settled_at FROM attempts WHERE destination = $1 AND outcome = 'answered' "
        "ORDER BY started_at LIMIT 1",
        destination,
    )
    return found


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """The sign-in of a destination, and the state of its lane.

    `lane_shared_with` counts the other connected destinations of the lane. `account_currency` is the currency
    Amazon reported.
    """

    connected_at: datetime | None
    connected_by: str | None
    key_name: str | None
    access_until: datetime | None
    blocked_until: datetime | None
    leased_until: datetime | None
    lane_shared_with: int
    paused_since: datetime | None = None
    broken_since: datetime | None = None
    account_currency: str | None = None


async def connection_of(
    connection: PipelineConnection, destination: DestinationNumber
) -> ConnectionInfo | None:
    """Return the sign-in and the lane of a destination, or None if the destination does not exist."""
    row = await connection.fetchrow(
        "SELECT s.connected_at, s.connected_by, k.name AS key_name, s.access_until, l.blocked_until, "
        "  l.leased_until, d.paused_since, d.broken_since, "
        "  a.currency AS account_currency, (SELECT count(*) FROM destinations o "
        "    WHERE o.lane = d.lane AND o.number <> d.number AND o.state IN ('connected', 'active')) "
        "  AS lane_shared_with "
        "FROM destinations d JOIN lanes l ON l.id = d.lane LEFT JOIN sign_ins s ON s.destination = d.id "
        "LEFT JOIN api_keys k ON k.id = s.connected_by "
        "LEFT JOIN amazon_accounts a ON a.destination = d.id "
        "WHERE d.organisation_id = acting_organisation() AND d.number = $1",
        destination,
    )
    return None if row is None else read_row(ConnectionInfo, row)


@dataclass(frozen=True, slots=True)
class MetadataSample:
    """The event metadata of one stored batch, without values of events. `shapes` is None when unreadable."""

    accepted_at: datetime
    shapes: bytes | None


async def samples(
    connection: PipelineConnection, destination: DestinationNumber, limit: int
) -> list[MetadataSample] | None:
    """Return the metadata of a destination's newest batches, newest first; None if the states are damaged."""
    return await _samples(
        connection,
        "SELECT s.batch, s.day, s.accepted_at FROM batch_states s "
        f"WHERE s.destination = $1 AND {STORED} ORDER BY s.batch DESC LIMIT $2",
        destination,
        limit,
    )


async def _samples(
    connection: PipelineConnection, statement: str, *arguments: object
) -> list[MetadataSample] | None:
    with damage.suppressed():
        rows = await connection.fetch(statement, *arguments)
        shapes = await damage.read_shapes_of(connection, {row["batch"]: row["day"] for row in rows})
        return [MetadataSample(row["accepted_at"], shapes.get(row["batch"])) for row in rows]
    return None


_SAMPLED_REQUESTS, _SAMPLED_BATCHES = 2, 20  # requests per day, and batches per request


async def daily_samples(
    connection: PipelineConnection, destination: DestinationNumber, *, since: datetime
) -> list[MetadataSample]:
    """Return the metadata of some batches that Amazon accepted on each day since a time, newest first.

    It reads the batches of the newest requests of a day, because batches have no index by time. The list is
    empty if their states are damaged.
    """
    found = await _samples(
        connection,
        f"""
        WITH sent AS (
          -- Batches of the newest answered requests of each day.
          SELECT DISTINCT b.batch
          FROM generate_series(($2::timestamptz AT TIME ZONE 'UTC')::date,
            (now() AT TIME ZONE 'UTC')::date, interval '1 day') AS d
          CROSS JOIN LATERAL (
            SELECT batches[1:{_SAMPLED_BATCHES}] AS batches FROM attempts
            WHERE destination = $1 AND day = d::date AND outcome = 'answered'
            ORDER BY started_at DESC LIMIT {_SAMPLED_REQUESTS}) a
          CROSS JOIN LATERAL unnest(a.batches) AS b (batch))
        SELECT s.batch, s.day, s.accepted_at FROM sent JOIN batch_states s ON s.batch = sent.batch
        WHERE s.accepted_at >= $2 AND {STORED} ORDER BY s.batch DESC
        """,
        destination,
        since,
    )
    return found or []


async def rejection_reasons(
    connection: PipelineConnection, destination: DestinationNumber, *, since: date
) -> list[tuple[str, str, int]]:
    """Return code, reason and count of rejections since a day (UTC), most frequent first."""
    rows = await connection.fetch(
        "SELECT code, reason, sum(rejected)::bigint AS n FROM rejections "
        "WHERE destination = $1 AND day >= $2 GROUP BY code, reason ORDER BY n DESC, reason LIMIT 50",
        destination,
        since,
    )
    return [(row["code"], row["reason"], row["n"]) for row in rows]


def shapes_in(samples: Sequence[MetadataSample] | None) -> tuple[list[EventMetadata], int]:
    """Return the metadata of all sampled events, newest first, and the number of unreadable batches."""
    if samples is None:
        return [], 1
    found = [read_shapes(sample.shapes) for sample in samples]
    return [shape for of in found if of is not None for shape in reversed(of)], found.count(None)


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of events and requests per second. All are None if the stored data is damaged."""

    accepted_per_second: float | None
    delivered_per_second: float | None
    requests_per_second: float | None
    failed_requests_per_second: float | None


async def rates(
    connection: PipelineConnection, destination: DestinationNumber, span: timedelta, *, newest: int = 2_000
) -> Rates:
    """Return the rates over the last `span`. The rate of accepted events uses at most `newest` batches."""
    with damage.suppressed():
        row = await connection.fetchrow(_RATES, destination, span, newest)
        assert row is not None
        return Rates(**{name: round(value, 3) for name, value in dict(row).items()})
    return Rates(None, None, None, None)


_RATES = f"""
        WITH accepted AS (
          -- The newest batches, because there is no index by time. If $3 batches are all within the span,
          -- they cover only the part of it since the oldest of them.
          SELECT coalesce(sum(events), 0) AS events, count(*) = $3 AS is_part, min(accepted_at) AS since
          FROM (SELECT events, accepted_at FROM batch_states WHERE destination = $1
                ORDER BY batch DESC LIMIT $3) newest
          WHERE accepted_at > now() - $2::interval
        ), sent AS (
          -- Settled requests of the span.
          SELECT count(*) AS requests, count(*) FILTER (WHERE outcome <> 'answered') AS failed,
            coalesce(sum(delivered), 0) AS events
          FROM attempts WHERE destination = $1 AND started_at > now() - $2::interval AND {_WAS_SENT}
        ), seconds AS (
          -- The time covered by each sum.
          SELECT extract(epoch FROM $2::interval) AS sent,
            extract(epoch FROM CASE WHEN is_part THEN greatest(now() - since, interval '1 second')
              ELSE $2::interval END) AS accepted
          FROM accepted
        )
        SELECT (accepted.events / seconds.accepted)::float AS accepted_per_second,
          (sent.events / seconds.sent)::float AS delivered_per_second,
          (sent.requests / seconds.sent)::float AS requests_per_second,
          (sent.failed / seconds.sent)::float AS failed_requests_per_second
        FROM accepted, sent, seconds
        """
