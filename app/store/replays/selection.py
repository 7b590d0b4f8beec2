"""The events that a replay or a dismissal selects, and how many of them can be replayed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from app.domain.event_query import EventQuery
from app.domain.ids import BatchId, DestinationNumber
from app.domain.outcomes.failure_cause import NO_ANSWER
from app.domain.outcomes.status import Status
from app.store import PipelineConnection
from app.store.events.failures import CAUSE
from app.store.rows import read_row

Places = Sequence[tuple[BatchId, int]]
"""Selected events by batch and place."""

REPLAYABLE = (Status.DEAD, Status.EXPIRED)


@dataclass(frozen=True, slots=True)
class ReplayCount:
    """The numbers of events that match a filter: all, and those that can be replayed (`ready`).

    The remaining events are too old for Amazon, or their data key was deleted (`forgotten`).
    """

    matched: int
    ready: int
    too_old: int
    forgotten: int


# The events that match a filter. `singles` has the events with a row in `exceptions`. `wholes` has the
# batches that were never sent. The disposition of a batch applies to its events without a row in
# `exceptions`.
FOUND = f"""
  -- Exceptions.
  WITH singles AS (SELECT e.batch, e.place, e.event_at >= now() - $5::interval AS young,
      s.data_key IS NOT NULL AND e.erased_at IS NULL AS has_key
    FROM exceptions e JOIN batch_states s ON s.batch = e.batch
    WHERE e.destination = $1 AND e.status = ANY($2) AND ($6::text IS NULL OR e.reason = $6)
      AND ($3::timestamptz IS NULL OR s.accepted_at >= $3)
      AND ($4::timestamptz IS NULL OR s.accepted_at < $4)
      AND ($9::text IS NULL OR {CAUSE} = $9)
      AND ($10::boolean IS NULL OR (e.dismissed_at IS NOT NULL) = $10)
      AND ($7::bigint[] IS NULL
        OR (e.batch, e.place) IN (SELECT * FROM unnest($7::bigint[], $8::smallint[])))),
  -- Batches that were never sent.
  wholes AS (SELECT s.batch, s.events, s.tries, s.last_event >= now() - $5::interval AS young,
      s.data_key IS NOT NULL AS has_key
    FROM batch_states s
    WHERE s.destination = $1 AND s.events > 0 AND $7::bigint[] IS NULL
      -- The next line implies this condition, but the planner needs it to use the partial index.
      AND s.disposition IN ('discarded', 'expired')
      AND CASE s.disposition WHEN 'discarded' THEN 'dead' ELSE 'expired' END = ANY($2::text[])
      AND $10::boolean IS NOT TRUE  -- only single events can be dismissed
      AND ($6::text IS NULL OR s.reason = $6) AND ($9::text IS NULL OR $9 = '{NO_ANSWER}')
      AND ($3::timestamptz IS NULL OR s.accepted_at >= $3)
      AND ($4::timestamptz IS NULL OR s.accepted_at < $4))
"""


async def count(
    connection: PipelineConnection,
    number: DestinationNumber,
    wanted: EventQuery,
    places: Places | None,
    *,
    max_age: timedelta,
) -> ReplayCount:
    """Return how many events match a filter."""
    row = await connection.fetchrow(
        f"""
        {FOUND}
        SELECT coalesce(sum(n), 0)::bigint AS matched,
          coalesce(sum(n) FILTER (WHERE young AND has_key), 0)::bigint AS ready,
          coalesce(sum(n) FILTER (WHERE NOT young), 0)::bigint AS too_old,
          coalesce(sum(n) FILTER (WHERE young AND NOT has_key), 0)::bigint AS forgotten
        FROM (SELECT 1 AS n, young, has_key FROM singles
          UNION ALL SELECT events, young, has_key FROM wholes) AS either
        """,
        *arguments_of(number, wanted, places, max_age),
    )
    assert row is not None
    return read_row(ReplayCount, row)


class UnsentEvent(NamedTuple):
    """A selected event that shares the status of its batch, which was never sent."""

    batch: BatchId
    place: int
    event_at: datetime
    mapping: int


async def unsent_batches(
    connection: PipelineConnection, number: DestinationNumber, wanted: EventQuery, *, after: int, limit: int
) -> dict[BatchId, date]:
    """Return the days of the next `limit` batches after `after` that were never sent and match a filter."""
    rows = await connection.fetch(
        f"{FOUND} SELECT w.batch, s.day FROM wholes w JOIN batch_states s USING (batch) "
        "WHERE w.batch > $11 ORDER BY w.batch LIMIT $12",
        *arguments_of(number, wanted, None, timedelta(0)),
        after,
        limit,
    )
    return {BatchId(row["batch"]): row["day"] for row in rows}


async def count_unsent(
    connection: PipelineConnection, events: Sequence[UnsentEvent], *, max_age: timedelta
) -> ReplayCount:
    """Return how many of these events are still part of their batches."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS matched, count(*) FILTER (WHERE young AND has_key) AS ready,
          count(*) FILTER (WHERE NOT young) AS too_old,
          count(*) FILTER (WHERE young AND NOT has_key) AS forgotten
        FROM (SELECT g.event_at >= now() - $4::interval AS young, s.data_key IS NOT NULL AS has_key
          FROM unnest($1::bigint[], $2::smallint[], $3::timestamptz[]) AS g (batch, place, event_at)
          JOIN batch_states s ON s.batch = g.batch AND s.disposition IN ('discarded', 'expired')
          WHERE NOT EXISTS (SELECT FROM exceptions e WHERE e.batch = g.batch AND e.place = g.place)) found
        """,
        [event.batch for event in events],
        [event.place for event in events],
        [event.event_at for event in events],
        max_age,
    )
    assert row is not None
    return read_row(ReplayCount, row)


async def separate(
    connection: PipelineConnection,
    number: DestinationNumber,
    events: Sequence[UnsentEvent],
    *,
    max_age: timedelta,
) -> None:
    """Give the events that can be replayed rows of their own, with the status that they have."""
    await connection.execute(
        """
        WITH given AS (
          -- The events to separate.
          SELECT * FROM unnest($2::bigint[], $3::smallint[], $4::timestamptz[], $5::integer[])
            AS g (batch, place, event_at, mapping)
        ), locked AS (
          -- Their batches. The lock keeps an erasure from changing them meanwhile.
          SELECT batch, day, reason, settled_at, disposition FROM batch_states
          WHERE batch = ANY($2) AND destination = $1 AND disposition IN ('discarded', 'expired')
            AND data_key IS NOT NULL
          ORDER BY batch FOR UPDATE
        ), added AS (
          -- Their own rows.
          INSERT INTO exceptions (batch, place, day, destination, mapping, status, event_at, reason,
            changed_at)
          SELECT g.batch, g.place, l.day, $1, g.mapping,
            CASE l.disposition WHEN 'discarded' THEN 'dead' ELSE l.disposition END, g.event_at,
            coalesce(l.reason, l.disposition), l.settled_at
          FROM given g JOIN locked l USING (batch) WHERE g.event_at >= now() - $6::interval
          ON CONFLICT DO NOTHING RETURNING batch, place
        ), moved AS (
          -- The events that left each batch.
          SELECT batch, count(*) AS events, array_agg(place) AS places FROM added GROUP BY batch
        )
        UPDATE batch_states s SET events = s.events - m.events,
          -- The figures of journeys count events that left their batch by their own rows.
          nodes = (SELECT array_agg(CASE WHEN position - 1 = ANY(m.places) THEN -abs(node) ELSE node END
            ORDER BY position) FROM unnest(CASE WHEN cardinality(s.nodes) = 1 AND s.events > 1
              THEN array_fill(s.nodes[1], ARRAY[s.events::integer]) ELSE s.nodes END)
            WITH ORDINALITY AS n (node, position))
        FROM moved m WHERE s.batch = m.batch
        """,
        number,
        [event.batch for event in events],
        [event.place for event in events],
        [event.event_at for event in events],
        [event.mapping for event in events],
        max_age,
    )


async def candidate_batches(
    connection: PipelineConnection,
    number: DestinationNumber,
    statuses: Sequence[str],
    *,
    after: int,
    limit: int,
) -> dict[BatchId, date]:
    """Return the days of the next `limit` batches after `after` with an exception of these statuses."""
    rows = await connection.fetch(
        "SELECT DISTINCT batch, day FROM exceptions "
        "WHERE destination = $1 AND status = ANY($2) AND batch > $3 ORDER BY batch LIMIT $4",
        number,
        statuses,
        after,
        limit,
    )
    return {BatchId(row["batch"]): row["day"] for row in rows}


def arguments_of(
    number: DestinationNumber, wanted: EventQuery, places: Places | None, max_age: timedelta
) -> tuple[object, ...]:
    """Return the parameters of `FOUND`."""
    return (
        number,
        REPLAYABLE if wanted.status is None else [wanted.status],
        wanted.since,
        wanted.until,
        max_age,
        wanted.reason,
        None if places is None else [batch for batch, _ in places],
        None if places is None else [place for _, place in places],
        wanted.cause,
        wanted.dismissed,
    )
