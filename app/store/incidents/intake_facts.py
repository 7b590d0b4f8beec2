"""The events that destinations receive, for incidents: a step of every five seconds, and hourly volumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.ids import DestinationNumber
from app.store import PipelineConnection
from app.store.rows import read_row

_STEP = timedelta(seconds=5)  # the time that a row of `intake_steps` covers
_KEEP_STEPS = timedelta(minutes=90)


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
    """The time of the last event of a destination, and the events that it received in the window before.

    `rejected_for` is the most common reason of the rejections in this window.
    """

    received_at: datetime
    received: int
    rejected: int
    rejected_for: str | None


async def intake(
    connection: PipelineConnection, numbers: Sequence[DestinationNumber], windows: Sequence[float]
) -> dict[DestinationNumber, IntakeFacts]:
    """Return the events that each of these destinations received last.

    `windows` has the length of each destination's window in seconds. A destination that received no event for
    more than an hour has no entry.
    """
    rows = await connection.fetch(
        """
        SELECT w.number, least(newest.at + $3::interval, now()) AS received_at, s.received, s.rejected,
          CASE WHEN s.rejected > 0 THEN (
            SELECT reason FROM rejections r WHERE r.destination = w.number
              AND r.day >= (newest.at AT TIME ZONE 'UTC')::date - 1
              AND r.last_at > newest.at - make_interval(secs => w.seconds)
            GROUP BY reason ORDER BY sum(rejected) DESC, reason LIMIT 1) END AS rejected_for
        FROM unnest($1::int[], $2::float8[]) AS w (number, seconds)
        -- LIMIT makes this one index probe.
        CROSS JOIN LATERAL (SELECT at FROM intake_steps WHERE destination = w.number
          ORDER BY at DESC LIMIT 1) newest
        CROSS JOIN LATERAL (
          SELECT sum(received)::bigint AS received, sum(rejected)::bigint AS rejected FROM intake_steps
          WHERE destination = w.number AND at > newest.at - make_interval(secs => w.seconds)) s
        """,
        list(numbers),
        list(windows),
        _STEP,
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
