"""Usage per organisation and day: accepted events, requests to Amazon, stored bytes.

All three are sums over rows of the pipeline, so they cost nothing when an event is accepted. The requests and
bytes of a day are stored before its partitions are dropped; the counts of events are never dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from app.domain.ids import OrganisationId
from app.store import PipelineConnection
from app.store.rows import read_row


@dataclass(frozen=True, slots=True)
class DayUsage:
    """The usage of an organisation on one day (UTC). `bytes` is the size of its stored conversions."""

    day: date
    events: int
    requests: int
    bytes: int


# An attempt that failed before anything was sent is not a request.
_REQUESTS = """(SELECT count(*) FROM attempts a JOIN destinations d ON d.number = a.destination
    WHERE d.organisation_id = o.id AND a.day = {day} AND a.outcome IS DISTINCT FROM 'not_sent')"""
_BYTES = """(SELECT coalesce(sum(s.bytes), 0) FROM batch_states s
    JOIN destinations d ON d.number = s.destination
    WHERE d.organisation_id = o.id AND s.day = {day})"""


async def record_day(connection: PipelineConnection, day: date) -> None:
    """Store the usage of a day before its partitions are dropped. Repeating it changes nothing."""
    await connection.execute(
        f"""
        INSERT INTO organisation_usage (organisation_id, day, requests, bytes)
        SELECT o.id, $1::date, {_REQUESTS.format(day="$1::date")}, {_BYTES.format(day="$1::date")}
        FROM organisations o ON CONFLICT DO NOTHING
        """,
        day,
    )


async def by_day(
    connection: PipelineConnection, organisation: OrganisationId, first: date, last: date
) -> Sequence[DayUsage]:
    """Return the usage of each day from `first` to `last`, idle days included."""
    rows = await connection.fetch(
        f"""
        SELECT t.day,
          (SELECT coalesce(sum(c.accepted), 0)::bigint FROM counts c
            JOIN destinations d ON d.number = c.destination
            WHERE d.organisation_id = o.id AND c.day = t.day) AS events,
          -- Stored if the partitions of the day were dropped, else counted.
          coalesce(u.requests, {_REQUESTS.format(day="t.day")}) AS requests,
          coalesce(u.bytes, {_BYTES.format(day="t.day")})::bigint AS bytes
        FROM organisations o
        CROSS JOIN (SELECT d::date AS day
          FROM generate_series($2::date, $3::date, interval '1 day') AS d) AS t
        LEFT JOIN organisation_usage u ON u.organisation_id = o.id AND u.day = t.day
        WHERE o.id = $1 ORDER BY t.day
        """,
        organisation,
        first,
        last,
    )
    return [read_row(DayUsage, row) for row in rows]
