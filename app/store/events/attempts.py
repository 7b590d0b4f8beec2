"""Read what happened to one event: its attempts, its replays, and the event that it duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from app.domain.ids import BatchId, DestinationId, DestinationNumber
from app.domain.outcomes.event_history import AttemptRecord, ReplayRecord
from app.store import PipelineConnection
from app.store.events.batches import Numbers
from app.store.rows import read_row

MOST_ATTEMPTS = 1_000  # per event; an outage of days causes more

ATTEMPTS: Final = """
    -- Attempts whose ids are listed in the state of the batch.
    WITH named AS (
      SELECT * FROM attempts WHERE id = ANY($5::bigint[]) AND day >= $4 AND destination = $1),
    -- Settled attempts that the state does not list, such as retries. The function uses an index of batches.
    off_fast_path AS (
      SELECT * FROM attempts WHERE id = ANY(ARRAY(SELECT attempts_of_batch($2, $4)))
        AND day >= $4 AND destination = $1),
    -- Attempts without a result. The lane selects them by an index.
    in_flight AS (
      SELECT a.* FROM attempts a JOIN destinations d ON d.lane = a.lane AND d.number = a.destination
      WHERE d.number = $1 AND a.settled_at IS NULL AND a.batches @> ARRAY[$2::bigint])
    SELECT DISTINCT ON (started_at, id) id, started_at, settled_at, outcome, http_status, request_id,
      message, duration_ms, events, places IS NOT NULL AS is_retry
    FROM (SELECT * FROM named UNION ALL SELECT * FROM off_fast_path
      UNION ALL SELECT * FROM in_flight) AS carried
    -- A retry lists its events by batch and position, in two parallel arrays.
    WHERE places IS NULL OR EXISTS (SELECT FROM unnest(batches, places) AS item (batch, place)
      WHERE item.batch = $2 AND item.place = $3)
    ORDER BY started_at DESC, id DESC LIMIT $6
"""


async def attempts(
    connection: PipelineConnection,
    destination: DestinationNumber,
    *,
    batch: BatchId,
    place: int,
    day: date,
    ids: Sequence[int],
) -> tuple[list[AttemptRecord], bool]:
    """Return the newest attempts that carried an event, in order of start, and whether none is left out.

    `day` is the day of the event's batch: no attempt is older. `ids` are the attempts that the state of the
    batch lists. Attempts in dropped partitions are missing.
    """
    rows = await connection.fetch(ATTEMPTS, destination, batch, place, day, list(ids), MOST_ATTEMPTS + 1)
    newest = [read_row(AttemptRecord, row) for row in rows[:MOST_ATTEMPTS]]
    return newest[::-1], len(newest) == len(rows)


async def replays(connection: PipelineConnection, numbers: Sequence[int]) -> list[ReplayRecord]:
    """Return the replays with these numbers, oldest first."""
    rows = await connection.fetch(
        """
        SELECT id, requested_at AS at, requested_by AS by FROM replays
        WHERE organisation_id = acting_organisation() AND number = ANY($1::integer[])
        ORDER BY number
        """,
        list(numbers),
    )
    return [read_row(ReplayRecord, row) for row in rows]


@dataclass(frozen=True, slots=True)
class MappedDuplicate:
    """An event that was answered as a duplicate because another event already had its Amazon eventId.

    `key` is the ledger key of the duplicate. `batch`, `place` and `destination` belong to the other event,
    which can have another destination: an eventId is unique per advertiser.
    """

    key: bytes
    batch: BatchId
    place: int
    answered_at: datetime
    destination: DestinationId


async def note_mapped_duplicates(
    connection: PipelineConnection, found: Sequence[tuple[bytes, BatchId, int]]
) -> None:
    """Record duplicates, each given as (its ledger key, batch and place of the accepted event).

    A key that was recorded before keeps its first record.
    """
    await connection.execute(
        """
        INSERT INTO mapped_duplicates (key, day, batch, place)
        SELECT key, (now() AT TIME ZONE 'UTC')::date, batch, place
        FROM unnest($1::bytea[], $2::bigint[], $3::smallint[]) AS found (key, batch, place)
        -- In order of keys, so that two flushes with the same keys cannot deadlock.
        ORDER BY key ON CONFLICT DO NOTHING
        """,
        [key for key, _, _ in found],
        [batch for _, batch, _ in found],
        [place for _, _, place in found],
    )


async def mapped_duplicates(connection: PipelineConnection, keys: Sequence[bytes]) -> list[MappedDuplicate]:
    """Return the stored duplicates with these ledger keys."""
    rows = await connection.fetch(
        """
        SELECT m.key, m.batch, m.place, m.answered_at, d.id AS destination
        FROM mapped_duplicates m JOIN batch_states s ON s.batch = m.batch
          JOIN destinations d ON d.number = s.destination
        WHERE d.organisation_id = acting_organisation() AND m.key = ANY($1::bytea[]) ORDER BY m.answered_at
        """,
        list(keys),
    )
    return [read_row(MappedDuplicate, row) for row in rows]


@dataclass(frozen=True, slots=True)
class CarriedBatches:
    """The events of one request to Amazon: complete batches, or single events of them.

    For single events, `places` has the position of the event in the batch with the same index.
    """

    destination: DestinationNumber
    batches: tuple[BatchId, ...]
    places: tuple[int, ...] | None


async def find_request(
    connection: PipelineConnection, numbers: Numbers, request_id: str
) -> CarriedBatches | None:
    """Return the events of the request that Amazon gave this id, or None if no stored request has it."""
    row = await connection.fetchrow(
        """
        SELECT destination, batches, places FROM attempts
        WHERE request_id = $2 AND ($1::integer[] IS NULL OR destination = ANY($1))
          AND destination IN (SELECT number FROM destinations WHERE organisation_id = acting_organisation())
        LIMIT 1
        """,
        None if numbers is None else list(numbers),
        request_id,
    )
    return None if row is None else read_row(CarriedBatches, row)
