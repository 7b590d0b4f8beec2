"""Exceptions: one row for each conversion whose state differs from its batch, such as a retry."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from app.domain.ids import AttemptId, BatchId, DestinationNumber
from app.store import PipelineConnection
from app.store.rows import read_row


@dataclass(frozen=True, slots=True)
class ExceptionChange:
    """An exception to write. It is due again after `wait`; `wait` is None for a final status.

    With `answers_attempt`, reason, code and message come from Amazon's reply to this conversion. A `mapping`
    of None leaves the stored mapping unchanged.
    """

    batch: BatchId
    place: int
    day: date
    status: str
    event_at: datetime
    reason: str
    code: str | None = None
    mapping: int | None = None
    wait: timedelta | None = None
    send_group: int | None = None
    costs_try: bool = False
    amazon_code: str | None = None
    amazon_message: str | None = None
    answers_attempt: bool = False


@dataclass(frozen=True, slots=True)
class DueException:
    """A conversion that is retried separately from its batch."""

    batch: BatchId
    place: int
    day: date
    tries: int
    send_group: int | None
    event_at: datetime


async def write(
    connection: PipelineConnection,
    destination: DestinationNumber,
    attempt: AttemptId | None,
    written: Sequence[ExceptionChange],
    *,
    queue: int = 0,
) -> None:
    """Insert or update these exceptions.

    A new exception is put in `queue`; an existing one keeps its queue. If Amazon's reply to `attempt` had a
    result for the conversion, the result is added to its item outcomes. Only the first outcome and the latest
    thirty are stored.
    """
    if not written:
        return
    await connection.execute(
        """
        INSERT INTO exceptions AS e (batch, place, day, destination, status, send_group, tries, due_at,
          event_at, code, reason, amazon_code, amazon_message, item_outcomes, delivered_at, queue, mapping)
        SELECT w.batch, w.place, w.day, $1, w.status, w.send_group, w.tried, now() + coalesce(w.wait, '0'),
          w.event_at, w.code, w.reason, w.amazon_code, w.amazon_message,
          -- The first item outcome, if this attempt had one.
          CASE WHEN w.answered THEN ARRAY[jsonb_build_object('attempt', $2::bigint, 'outcome', w.reason,
            'code', w.amazon_code, 'message', w.amazon_message)] ELSE '{}' END,
          CASE w.status WHEN 'delivered' THEN now() END, $16::smallint, w.mapping
        FROM unnest($3::bigint[], $4::smallint[], $5::date[], $6::text[], $7::bigint[], $8::smallint[],
          $9::interval[], $10::timestamptz[], $11::text[], $12::text[], $13::text[], $14::text[],
          $15::boolean[], $17::integer[])
          AS w (batch, place, day, status, send_group, tried, wait, event_at, code, reason, amazon_code,
            amazon_message, answered, mapping)
        ON CONFLICT (batch, place) DO UPDATE SET status = excluded.status, send_group = excluded.send_group,
          tries = least(e.tries + excluded.tries, 32767), due_at = excluded.due_at, code = excluded.code,
          reason = excluded.reason, amazon_code = excluded.amazon_code,
            amazon_message = excluded.amazon_message, delivered_at = excluded.delivered_at,
          mapping = coalesce(e.mapping, excluded.mapping),
          -- At most 31 item outcomes: the first, then the latest thirty.
          item_outcomes = CASE
            WHEN cardinality(e.item_outcomes) < 31 THEN e.item_outcomes || excluded.item_outcomes
            WHEN cardinality(excluded.item_outcomes) = 0 THEN e.item_outcomes
            ELSE e.item_outcomes[1:1] || e.item_outcomes[3:31] || excluded.item_outcomes END,
          changed_at = now()
        """,
        destination,
        attempt,
        [row.batch for row in written],
        [row.place for row in written],
        [row.day for row in written],
        [row.status for row in written],
        [row.send_group for row in written],
        [int(row.costs_try) for row in written],
        [row.wait for row in written],
        [row.event_at for row in written],
        [row.code for row in written],
        [row.reason for row in written],
        [row.amazon_code for row in written],
        [row.amazon_message for row in written],
        [row.answers_attempt and attempt is not None for row in written],
        queue,
        [row.mapping for row in written],
    )


async def due(
    connection: PipelineConnection,
    destination: DestinationNumber,
    *,
    queue: int,
    in_flight: Sequence[tuple[BatchId, int]],
    max_events: int,
) -> list[DueException]:
    """Return the due conversions for one retry request, without those in flight.

    Either all belong to one send group, or none belongs to a group. A send group is half of a request that
    Amazon refused.
    """
    rows = await connection.fetch(
        """
        -- Due conversions of the queue that are not in flight.
        WITH free AS (SELECT batch, place, day, tries, send_group, event_at, due_at FROM exceptions e
          WHERE e.destination = $1 AND e.queue = $5 AND e.status = 'retrying' AND e.due_at <= now()
            AND NOT EXISTS
            (SELECT FROM unnest($2::bigint[], $3::smallint[]) AS f (batch, place)
             WHERE f.batch = e.batch AND f.place = e.place)
          -- In the order of the index, so that few rows are read without sorting.
          ORDER BY due_at, batch, place LIMIT $4 * 4),
        -- The conversion that has been due for longest determines the send group of the request.
        head AS (SELECT send_group FROM free ORDER BY due_at, batch, place LIMIT 1)
        SELECT free.* FROM free, head WHERE free.send_group IS NOT DISTINCT FROM head.send_group
        ORDER BY free.due_at, free.batch, free.place LIMIT $4
        """,
        destination,
        [batch for batch, _ in in_flight],
        [place for _, place in in_flight],
        max_events,
        queue,
    )
    return [read_row(DueException, row) for row in rows]


async def lock_retrying(
    connection: PipelineConnection, conversions: Sequence[tuple[BatchId, int]]
) -> set[tuple[BatchId, int]]:
    """Lock those of these conversions, given as (batch, place), that are still retrying. Return them."""
    if not conversions:
        return set()
    rows = await connection.fetch(
        """
        SELECT e.batch, e.place FROM exceptions e JOIN unnest($1::bigint[], $2::smallint[])
          AS requested (batch, place) ON requested.batch = e.batch AND requested.place = e.place
        WHERE e.status = 'retrying' ORDER BY e.batch, e.place FOR UPDATE OF e
        """,
        [batch for batch, _ in conversions],
        [place for _, place in conversions],
    )
    return {(BatchId(row["batch"]), row["place"]) for row in rows}


async def places(connection: PipelineConnection, batch: BatchId) -> set[int]:
    """Return the positions in a batch that have an exception."""
    rows = await connection.fetch("SELECT place FROM exceptions WHERE batch = $1", batch)
    return {row["place"] for row in rows}


async def requeue(
    connection: PipelineConnection,
    places: Sequence[tuple[BatchId, int]],
    *,
    wait: timedelta,
    reason: str,
) -> None:
    """Make retrying conversions due again after `wait`, because the outcome of their request is unknown.

    They keep their send group.
    """
    await connection.execute(
        """
        UPDATE exceptions e SET tries = least(tries + 1, 32767), due_at = now() + $3::interval, reason = $4,
          changed_at = now()
        FROM unnest($1::bigint[], $2::smallint[]) AS w (batch, place)
        WHERE e.batch = w.batch AND e.place = w.place AND e.status = 'retrying'
        """,
        [batch for batch, _ in places],
        [place for _, place in places],
        wait,
        reason,
    )


async def expire(
    connection: PipelineConnection, *, older_than: timedelta, limit: int
) -> list[DestinationNumber]:
    """Expire retrying conversions that are older than `older_than`. Return the destination of each."""
    rows = await connection.fetch(
        """
        -- Retrying conversions beyond the age limit that no unsettled attempt carries.
        WITH old AS (SELECT batch, place FROM exceptions e WHERE status = 'retrying'
          AND event_at < now() - $1::interval AND NOT EXISTS (SELECT FROM attempts a
            WHERE a.settled_at IS NULL AND a.places IS NOT NULL AND e.batch = ANY(a.batches))
          LIMIT $2 FOR UPDATE SKIP LOCKED)
        UPDATE exceptions e SET status = 'expired', code = 'MISC_ERROR', reason = 'expired',
          send_group = NULL, changed_at = now() FROM old WHERE e.batch = old.batch
            AND e.place = old.place RETURNING e.destination
        """,
        older_than,
        limit,
    )
    return [DestinationNumber(row["destination"]) for row in rows]
