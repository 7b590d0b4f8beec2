"""Record the usual result of a request in one statement: Amazon accepted every event."""

from collections.abc import Sequence
from datetime import date

import asyncpg

from app.domain.ids import BatchId, DestinationNumber, LaneId
from app.store import PipelineConnection
from app.store.attempts import StartedAttempt

# Nothing is written unless `settled` finds the attempt. `settled` locks the lane's row. A new owner of the
# lane therefore waits for this commit, or this statement sees the new owner and writes nothing.
_WRITE_DELIVERED = """
    -- The attempt, if it has no result and this worker still owns the lane.
    WITH settled AS (
      UPDATE attempts SET settled_at = clock_timestamp(), outcome = 'answered', http_status = $5,
        request_id = $6, duration_ms = $7, delivered = $13::bigint
      WHERE id = $1 AND day = $2 AND settled_at IS NULL
      AND EXISTS (SELECT FROM lanes WHERE id = $3 AND fence = $4 FOR KEY SHARE) RETURNING id),
    -- Its batches; `day` limits the partitions that are searched.
    closed AS (
      UPDATE batch_states SET disposition = 'sent', settled_at = now(), attempts = attempts || $1::bigint
      WHERE batch = ANY($8::bigint[]) AND day BETWEEN $9 AND $10 AND settled_at IS NULL
      AND EXISTS (SELECT FROM settled) RETURNING batch),
    -- The counts of the destination.
    counted AS (
      INSERT INTO counts AS c (destination, day, writer, delivered, retrying)
      SELECT $11, (now() AT TIME ZONE 'UTC')::date, $12, $13::bigint, $14::bigint FROM settled
      ON CONFLICT (destination, day, writer) DO UPDATE
      SET delivered = c.delivered + excluded.delivered, retrying = c.retrying + excluded.retrying)
    SELECT CASE WHEN count(*) = 0 THEN false
      -- Division by zero rolls everything back if another transaction closed one of the batches.
      ELSE 1 / ((SELECT count(*) FROM closed) = cardinality($8::bigint[]))::int = 1 END
    FROM settled
"""


async def write_delivered(
    connection: PipelineConnection,
    started: StartedAttempt,
    *,
    lane: LaneId,
    fence: int,
    destination: DestinationNumber,
    batches: Sequence[BatchId],
    days: tuple[date, date],
    delivered: int,
    retrying: int,
    writer: int,
    http_status: int | None,
    request_id: str | None,
    duration_ms: int,
) -> bool:
    """Record that every conversion of these batches was delivered: in the attempt, the states and the counts.

    `days` are the first and last day of the batches. `delivered` and `retrying` are added to the counts.
    Returns False and writes nothing when the lane has another owner or the attempt already has a result.
    """
    try:
        settled: bool = await connection.fetchval(
            _WRITE_DELIVERED,
            started.id,
            started.day,
            lane,
            fence,
            http_status,
            request_id,
            duration_ms,
            list(batches),
            *days,
            destination,
            writer,
            delivered,
            retrying,
        )
    except asyncpg.DivisionByZeroError:
        raise AssertionError(f"not all of {len(batches)} batches of a request were open") from None
    return settled
