"""Outcomes of events over time: counts per destination in time buckets of several widths.

The pipeline counts events per day (`counts`). Every few seconds the monitor adds the increase of these counts
to the current bucket of each width. Charts therefore cost the pipeline nothing. Readers add the increase
since the last recording.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection
from app.store.rows import read_row

# The retention of buckets by their width. Each time range of the console reads one width.
RETENTION: Final[Mapping[timedelta, timedelta]] = {
    timedelta(minutes=1): timedelta(hours=2),
    timedelta(minutes=5): timedelta(hours=7),
    timedelta(minutes=15): timedelta(hours=26),
    # Incidents of the kind `volume_drop` read these buckets.
    timedelta(hours=1): timedelta(days=15),
    timedelta(hours=3): timedelta(days=8),
    timedelta(days=1): timedelta(days=32),
}
_ORIGIN: Final = datetime(2000, 1, 1, tzinfo=UTC)  # a bucket of every width begins at this time
_COUNTED: Final = ("accepted", "duplicates", "rejected", "delivered", "dead", "expired")
_SENT: Final = ("requests", "failed_requests", "retried")
_TODAY: Final = "(now() AT TIME ZONE 'UTC')::date"


def _columns(template: str, names: Sequence[str] = _COUNTED) -> str:
    return ", ".join(template.format(name=name) for name in names)


# A replay decreases the count `dead`, but the counts of a bucket never decrease.
_CHANGES: Final = _columns("greatest(sum(t.{name} - coalesce(o.{name}, 0)), 0)::bigint AS {name}")
_RECORD: Final = f"""
    WITH period AS (
      -- The time whose requests are recorded now. It ends five seconds ago, because a row with an earlier
      -- time may still be committed.
      SELECT coalesce((SELECT outcomes_recorded_at FROM commit_probes WHERE id = 1),
          now() - interval '1 minute') AS since, now() - interval '5 seconds' AS until
    ), totals AS (
      -- The current counts of today and yesterday.
      SELECT d.organisation_id, c.destination, c.day, {_columns("sum(c.{name})::bigint AS {name}")}
      FROM destinations d JOIN counts c ON c.destination = d.number AND c.day >= {_TODAY} - 1
      WHERE d.archived_at IS NULL GROUP BY 1, 2, 3
    ), changes AS (
      -- Their increase since the last recording.
      SELECT t.destination, {_CHANGES}
      FROM totals t LEFT JOIN outcome_totals o ON o.destination = t.destination AND o.day = t.day
      WHERE ({_columns("t.{name}")}) IS DISTINCT FROM ({_columns("o.{name}")})
      GROUP BY 1
    ), remembered AS (
      -- The current counts, for the next recording.
      INSERT INTO outcome_totals AS o (organisation_id, destination, day, {_columns("{name}")})
      SELECT * FROM totals ON CONFLICT (destination, day) DO UPDATE SET {_columns("{name} = excluded.{name}")}
      WHERE ({_columns("o.{name}")}) IS DISTINCT FROM ({_columns("excluded.{name}")})
    ), marked AS (
      -- The next recording begins where this one ends.
      UPDATE commit_probes SET outcomes_recorded_at = period.until FROM period WHERE id = 1
    ), news AS (
      -- Destinations with a change, a request or a waiting event.
      SELECT d.organisation_id, d.number AS destination,
        {_columns("coalesce(c.{name}, 0) AS {name}")}, {_columns("r.{name}", _SENT)},
        w.age AS oldest_waiting_seconds, least(d.requests_per_second, l.learned_rate)::real AS learned_rate
      FROM period CROSS JOIN destinations d JOIN lanes l ON l.id = d.lane
      LEFT JOIN changes c ON c.destination = d.number
      LEFT JOIN unnest($1::int[], $2::real[]) AS w (destination, age) ON w.destination = d.number
      CROSS JOIN LATERAL (
        SELECT count(*) AS requests, count(*) FILTER (WHERE outcome <> 'answered') AS failed_requests,
          coalesce(sum(events) FILTER (WHERE outcome <> 'answered'), 0)::bigint AS retried
        FROM attempts WHERE destination = d.number AND day BETWEEN {_TODAY} - 1 AND {_TODAY}
          AND outcome <> 'not_sent'
          AND started_at > period.since - interval '3 minutes'
          AND settled_at > period.since AND settled_at <= period.until) r
      WHERE d.archived_at IS NULL
        AND (c.destination IS NOT NULL OR w.destination IS NOT NULL OR r.requests > 0)
    )
    INSERT INTO outcome_history AS h (organisation_id, destination, bucket_seconds, at,
      {_columns("{name}", _COUNTED + _SENT)}, oldest_waiting_seconds, learned_rate)
    SELECT n.organisation_id, n.destination, width.seconds,
      date_bin(make_interval(secs => width.seconds), now(), TIMESTAMPTZ '2000-01-01 00:00Z'),
      {_columns("n.{name}", _COUNTED + _SENT)}, n.oldest_waiting_seconds, n.learned_rate
    FROM news n CROSS JOIN unnest($3::int[]) AS width (seconds)
    ON CONFLICT (destination, bucket_seconds, at) DO UPDATE
    SET {_columns("{name} = h.{name} + excluded.{name}", _COUNTED + _SENT)},
      oldest_waiting_seconds = greatest(h.oldest_waiting_seconds, excluded.oldest_waiting_seconds),
      learned_rate = coalesce(excluded.learned_rate, h.learned_rate)
"""


async def record(connection: PipelineConnection, waiting: Mapping[DestinationNumber, float]) -> None:
    """Add the changes since the last recording to the current buckets.

    `waiting` is the age of the oldest waiting event of each destination, in seconds.
    """
    widths = [int(width.total_seconds()) for width in RETENTION]
    await connection.execute(_RECORD, list(waiting), list(waiting.values()), widths)


def widest_buckets(since: datetime, width: timedelta) -> list[tuple[timedelta, datetime, datetime | None]]:
    """Return the parts (bucket width, begin, end) that cover the time from `since` on with the fewest rows.

    `since` is the start of a bucket of this width; the end of the last part is None. Buckets of every width
    count the same events, so the sums are equal.
    """
    parts: list[tuple[timedelta, datetime, datetime | None]] = []
    for wider in sorted(each for each in RETENTION if each > width):
        begin = since + (_ORIGIN - since) % wider
        if begin > since:
            parts.append((width, since, begin))
        width, since = wider, begin
    return [*parts, (width, since, None)]


async def forget(connection: PipelineConnection) -> None:
    """Delete buckets and totals that are no longer read."""
    await connection.execute(
        "DELETE FROM outcome_history h USING unnest($1::int[], $2::interval[]) AS width (seconds, kept) "
        "WHERE h.bucket_seconds = width.seconds AND h.at < now() - width.kept",
        [int(width.total_seconds()) for width in RETENTION],
        list(RETENTION.values()),
    )
    await connection.execute(f"DELETE FROM outcome_totals WHERE day < {_TODAY} - 2")


@dataclass(frozen=True, slots=True)
class OutcomeBucket:
    """Outcomes of a destination's events in the bucket that begins at `at`.

    `failed_requests` include 429 responses. `retried` counts the events of failed requests.
    `oldest_waiting_seconds` is the highest age of a waiting event, None if none waited.
    """

    destination: DestinationNumber
    at: datetime
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    delivered: int = 0
    dead: int = 0
    expired: int = 0
    requests: int = 0
    failed_requests: int = 0
    retried: int = 0
    oldest_waiting_seconds: float | None = None
    learned_rate: float | None = None

    @property
    def failed(self) -> int:
        """Return the number of events that failed permanently or expired."""
        return self.dead + self.expired


_BUCKETS: Final = f"""
    SELECT destination, at, {_columns("sum({name})::bigint AS {name}", _COUNTED + _SENT)},
      max(oldest_waiting_seconds) AS oldest_waiting_seconds, max(learned_rate) AS learned_rate
    FROM (
      SELECT destination, at, {_columns("{name}", _COUNTED + _SENT)}, oldest_waiting_seconds, learned_rate
      FROM outcome_history WHERE organisation_id = acting_organisation()
        AND destination = ANY($1::int[]) AND bucket_seconds = $2 AND at >= $3
      UNION ALL
      -- The increase since the last recording.
      SELECT t.destination, date_bin(make_interval(secs => $2), now(), TIMESTAMPTZ '2000-01-01 00:00Z'),
        {_CHANGES}, 0, 0, 0, NULL, NULL
      FROM (SELECT destination, day, {_columns("sum({name})::bigint AS {name}")} FROM counts
        WHERE destination = ANY($1::int[]) AND day >= {_TODAY} - 1 GROUP BY 1, 2) t
      LEFT JOIN outcome_totals o ON o.organisation_id = acting_organisation()
        AND o.destination = t.destination AND o.day = t.day
      GROUP BY t.destination
    ) x GROUP BY destination, at ORDER BY destination, at
"""


async def buckets(
    connection: PipelineConnection,
    destinations: Sequence[DestinationNumber],
    *,
    width: timedelta,
    since: datetime,
) -> dict[DestinationNumber, list[OutcomeBucket]]:
    """Return the buckets of each destination from `since` on, oldest first, without empty ones."""
    rows = await connection.fetch(_BUCKETS, list(destinations), int(width.total_seconds()), since)
    found: dict[DestinationNumber, list[OutcomeBucket]] = {number: [] for number in destinations}
    for row in rows:
        found[row["destination"]].append(read_row(OutcomeBucket, row))
    return found
