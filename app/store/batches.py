"""Batches of events: read the due ones, close or requeue them, delete their data keys.

`app.store.flush` writes new batches. The content of a batch (`batches`) is written once; only erasure
rewrites it. Everything that changes is in a narrow row of `batch_states`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import msgspec

from app.domain.ids import AttemptId, BatchId, DestinationNumber
from app.store import PipelineConnection, Row, execute, fetch_map, fetch_rows, fetch_scalar, read_sql
from app.store.database import damage
from app.store.lanes import LaneLease

SQL: Final = read_sql(__file__)

KEYS_LIMIT: Final = 2_000  # data keys that one call deletes
LIVE, LOW = 0, 2  # queues; LOW has replays and low-priority events: at most a fifth of a lane's requests


class NewBatch(msgspec.Struct, frozen=True):
    """An encrypted batch to store. `content` is encrypted with `data_key`, which is itself encrypted."""

    id: BatchId
    destination: DestinationNumber
    content: bytes
    shapes: bytes
    events: int
    size: int
    first_event: datetime
    last_event: datetime
    data_key: bytes
    queue: int = LIVE
    nodes: Sequence[int] = ()  # the number of the journey node at each place, or one for all events

    __repr__ = object.__repr__


class DueBatch(msgspec.Struct, frozen=True, gc=False):
    """A batch that is due for delivery. The fields are the columns that `due` reads.

    `content` is None when it cannot be read; `problem` is then the reason.
    """

    id: BatchId
    day: date
    events: int
    tries: int
    due_at: datetime
    first_event: datetime
    last_event: datetime
    data_key: bytes | None
    content: bytes | None
    shapes: bytes | None
    problem: str | None = None

    __repr__ = object.__repr__


async def reserve_ids(connection: PipelineConnection, number: int) -> list[BatchId]:
    """Return `number` new batch ids. The caller need not use all of them."""
    rows = await connection.fetch("SELECT nextval('batch_ids') AS id FROM generate_series(1, $1)", number)
    return [BatchId(row["id"]) for row in rows]


async def due(
    connection: PipelineConnection,
    destination: DestinationNumber,
    *,
    queue: int,
    in_flight: Sequence[BatchId],
    max_events: int,
    max_bytes: int,
    watermark: datetime | None = None,
) -> tuple[list[DueBatch], bool]:
    """Return the batches that fill one request, oldest due first, and whether more are due.

    Leaves out batches in flight, and batches due before `watermark` (see `app.domain.pacing.order`). A
    cursor that only moves forward would skip a batch whose transaction commits late. A batch whose row is
    missing or on a damaged page is returned without its content.
    """
    arguments = (destination, list(in_flight), max_events, max_bytes, queue, watermark)
    try:
        rows = await connection.fetch(_DUE, *arguments)
    except Exception as error:
        if not damage.is_damage(error):
            raise
        rows = await connection.fetch(_DUE_STATES, *arguments)
        places = [(BatchId(row["batch"]), row["day"]) for row in rows]
        stored = await damage.read_singly(connection, places, destination)
        parts = [stored[row["batch"]] for row in rows]
        found = [
            DueBatch(*(*row[:-3], part.content, part.shapes, part.problem))
            for row, part in zip(rows, parts, strict=True)
        ]
    else:
        found = [DueBatch(*(*row[:-1], damage.MISSING if row["content"] is None else None)) for row in rows]
    # If the statement read `max_events` rows, it may have left out others.
    has_more = bool(rows) and not len(rows) == rows[0]["found"] < max_events
    return found, has_more


def _due_statement(values: str, source: str) -> str:
    return f"""
        -- The oldest due batches that are not in flight.
        WITH due AS (SELECT batch, day, events, bytes, tries, first_event, last_event, data_key, due_at
          FROM batch_states WHERE destination = $1 AND queue = $5 AND settled_at IS NULL AND due_at <= now()
          AND due_at >= coalesce($6::timestamptz, '-infinity')
          AND batch <> ALL($2::bigint[]) ORDER BY due_at, batch LIMIT $3),
        -- Running sums of events and bytes, to stop when the request is full.
        filled AS (SELECT *, sum(events) OVER w AS events_so_far, sum(bytes) OVER w AS bytes_so_far,
            count(*) OVER () AS found
          FROM due WINDOW w AS (ORDER BY due_at, batch))
        SELECT f.batch, f.day, f.events, f.tries, f.due_at, f.first_event, f.last_event, f.data_key,
          {values}, f.found
        FROM filled f {source}
        -- The first is returned even if it exceeds both limits. Otherwise it would block its queue.
        WHERE (f.events_so_far <= $3 AND f.bytes_so_far <= $4) OR f.events_so_far = f.events
        ORDER BY f.due_at, f.batch
        """


# LEFT JOIN: a batch whose content is missing must be returned, or it would block the batches behind it.
# A state that names another destination than its batch is damage, and the batch counts as missing. Otherwise
# the events of one advertiser would be sent to another.
_DUE = _due_statement(
    "p.content, p.shapes", "LEFT JOIN batches p ON p.id = f.batch AND p.day = f.day AND p.destination = $1"
)
_DUE_STATES = _due_statement("NULL::bytea AS content, NULL::bytea AS shapes", "")


async def read(
    connection: PipelineConnection,
    places: Collection[tuple[BatchId, date]],
    destination: DestinationNumber | None = None,
) -> dict[BatchId, tuple[bytes | None, bytes | None, bytes | None]]:
    """Return (encrypted data key, content, shapes) by batch id. `places` gives each batch with its day.

    Batches without a row, or of another destination if one is given, are left out. A value on a damaged page
    and a deleted data key are None.
    """
    arguments = [batch for batch, _ in places], [day for _, day in places]
    async with damage.tolerated(connection):
        rows = await connection.fetch(SQL["read"], *arguments, destination)
        return {BatchId(row["id"]): (row["data_key"], row["content"], row["shapes"]) for row in rows}
    keys = await fetch_map(connection, SQL["read_keys"], *arguments)
    stored = await damage.read_singly(connection, sorted(places), destination)
    return {batch: (keys.get(batch), part.content, part.shapes) for batch, part in stored.items()}


async def close(
    connection: PipelineConnection, batches: Sequence[BatchId], disposition: str, attempt: AttemptId | None
) -> None:
    """Close open batches with the disposition 'sent' or 'expired'. Raises AssertionError if any is not open.

    The disposition applies to the events of a batch that have no row in `exceptions`.
    """
    _expect(await execute(connection, SQL["close"], batches, attempt, disposition), len(batches))


@dataclass(frozen=True, slots=True)
class OpenState:
    """A batch that is neither sent nor given a final state, with the number of its failed `tries`."""

    id: BatchId
    events: int
    tries: int


async def still_open(connection: PipelineConnection, batches: Sequence[BatchId]) -> list[OpenState]:
    """Return those of these batches that have no final state."""
    return await fetch_rows(connection, OpenState, SQL["still_open"], list(batches))


async def lock_unchanged(
    connection: PipelineConnection, data_keys: Mapping[BatchId, bytes | None]
) -> set[BatchId]:
    """Lock the given batches that are open and still have the given encrypted data key; return their ids."""
    if not data_keys:
        return set()
    rows = await connection.fetch(SQL["lock_unchanged"], list(data_keys), list(data_keys.values()))
    return {BatchId(row["batch"]) for row in rows}


async def requeue(
    connection: PipelineConnection, batches: Sequence[BatchId], *, wait: timedelta, reason: str
) -> None:
    """Make open batches due again after `wait`, and increment their tries.

    Raises AssertionError if any of the batches is not open.
    """
    _expect(await execute(connection, SQL["requeue"], batches, wait, reason), len(batches))


async def postpone(connection: PipelineConnection, lease: LaneLease, batches: Sequence[BatchId]) -> None:
    """Make open batches, and their retrying events, due again later, while the lane has this lease.

    They wait as long as they have waited, but at least 30 seconds and at most five minutes.
    """
    await connection.execute(SQL["postpone"], list(batches), lease.id, lease.fence)


async def expire(
    connection: PipelineConnection, *, older_than: timedelta, limit: int
) -> list[tuple[DestinationNumber, int, bool]]:
    """Expire open batches whose newest event is older than `older_than`, unless a request carries them.

    Return (destination, number of events, whether a request had failed) for each expired batch.
    """
    return [tuple(row) for row in await connection.fetch(SQL["expire"], older_than, limit)]


async def waiting(
    connection: PipelineConnection, destination: DestinationNumber, queue: int | None = None
) -> int:
    """Return the number of events of a destination without a final state, in one queue or in all."""
    # An array, so that the index serves one queue under a generic plan too.
    queues = [0, 1, 2] if queue is None else [queue]
    return await fetch_scalar(connection, int, SQL["waiting"], destination, queues)


async def delete_data_keys(connection: PipelineConnection, *, after: timedelta, dead_after: timedelta) -> int:
    """Delete up to `KEYS_LIMIT` data keys of batches whose last event became final more than `after` ago.

    Their content can then no longer be decrypted. A batch with a retrying event keeps its key. A batch with a
    dead event keeps it for `dead_after`. Batches that a replay is queueing and rows on a damaged page are
    skipped. Returns the number of deleted keys. Call it in a transaction.
    """
    ids = [row["batch"] for row in await _lock_final(connection, after, dead_after)]
    last = max(ids, default=0)
    deleted = await damage.read_range(connection, SQL["delete_keys"], ids, after, first=0, last=last)
    return len(deleted.rows)


async def _lock_final(connection: PipelineConnection, *ages: timedelta) -> Sequence[Row]:
    async with damage.tolerated(connection):
        return await connection.fetch(_FINAL.format(some="", limit=KEYS_LIMIT), *ages)
    last = await damage.newest_batch(connection)
    some = _FINAL.format(some="AND batch BETWEEN $3 AND $4", limit=KEYS_LIMIT)
    return (await damage.read_range(connection, some, *ages, first=0, last=last)).rows


_FINAL = """
    SELECT batch FROM batch_states s WHERE settled_at < now() - $1::interval
    AND data_key IS NOT NULL {some} AND NOT EXISTS (SELECT FROM exceptions e
      WHERE e.batch = s.batch AND (e.status = 'retrying' OR e.changed_at > now() - $1::interval
        OR (e.status = 'dead' AND e.changed_at > now() - $2::interval)))
    LIMIT {limit} FOR UPDATE SKIP LOCKED
"""


def _expect(written: int, rows: int) -> None:
    if written != rows:
        raise AssertionError(f"{rows} batches were in flight, {written} could be settled")
