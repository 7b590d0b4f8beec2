"""Erasures: find the batches to search for a person's events, rewrite them, and record the result.

The search values are stored encrypted (`sealed`) until the scan ends. The receipt has no personal data.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import NamedTuple

import asyncpg

from app.domain.ids import BatchId, DestinationNumber, OrganisationId
from app.store import PipelineConnection, transactions
from app.store.database import damage, partitions
from app.store.rows import read_row

_LANE_LOCK_S = 1.0  # the lanes that are locked already wait meanwhile


@dataclass(frozen=True, slots=True)
class PendingErasure:
    """An unfinished erasure, with encrypted search values (`sealed`) and the last batch searched.

    `sealed` is None if the reader knows the values.
    """

    organisation_id: OrganisationId
    id: str
    number: int
    requested_at: datetime
    sealed: bytes | None
    scanned_to: int


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure and its receipt: the numbers of searched batches and of events found, by their status."""

    id: str
    requested_at: datetime
    requested_by: str
    kinds: tuple[str, ...]
    scanned: int
    waiting: int
    dead: int
    delivered: int
    unreadable: int
    finished_at: datetime | None
    sealed: bytes | None = field(default=None, repr=False)
    number: int = 0


async def ask(
    connection: PipelineConnection, id: str, *, by: str, kinds: Sequence[str], sealed: bytes
) -> datetime:
    """Create an erasure and return the time of the request.

    Flushes wait until the commit, so that the scan finds every event that was acknowledged earlier. After the
    commit, no attempt starts with a batch that a worker read earlier.
    """
    # The lanes come first: a worker that is frozen in a transaction may hold one, and flushes must not wait
    # for it. Locked in order of id, so that two concurrent erasures cannot deadlock.
    await transactions.set_lock_timeout(connection, seconds=_LANE_LOCK_S)
    await connection.execute(
        """
        UPDATE lanes SET erasures = erasures + 1
        FROM (SELECT id FROM lanes WHERE organisation_id = acting_organisation() ORDER BY id FOR UPDATE)
          AS locked WHERE lanes.id = locked.id
        """
    )
    await partitions.hold_flushes(connection)
    requested_at: datetime = await connection.fetchval(
        """
        INSERT INTO erasures (organisation_id, id, requested_by, kinds, sealed, requested_at)
        VALUES (acting_organisation(), $1, $2, $3, $4, clock_timestamp()) RETURNING requested_at
        """,
        id,
        by,
        list(kinds),
        sealed,
    )
    return requested_at


async def under_way(connection: PipelineConnection, before: datetime, *, younger_than: timedelta) -> bool:
    """Return whether an attempt that started before a time may still be in flight.

    An attempt that started more than `younger_than` ago has ended.
    """
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM attempts WHERE settled_at IS NULL AND started_at <= $1
          AND started_at > clock_timestamp() - $2::interval)
        """,
        before,
        younger_than,
    )
    return found


async def pending(connection: PipelineConnection, *, known: Sequence[int]) -> list[PendingErasure]:
    """Return the unfinished erasures, oldest first. The values of `known` numbers are left out."""
    rows = await connection.fetch(
        """
        SELECT organisation_id, id, number, requested_at,
          CASE WHEN number = ANY($1::bigint[]) THEN NULL ELSE sealed END AS sealed, scanned_to
        FROM erasures WHERE finished_at IS NULL ORDER BY number
        """,
        known,
    )
    return [read_row(PendingErasure, row) for row in rows]


async def oldest_age_s(connection: PipelineConnection) -> float:
    """Return the seconds since the oldest unfinished erasure was requested; 0 if all are finished."""
    age: float = await connection.fetchval(
        "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(requested_at)), 0)::float8 FROM erasures "
        "WHERE finished_at IS NULL"
    )
    return age


_ERASURES = """
    SELECT id, requested_at, requested_by, kinds, scanned, waiting, dead, delivered, unreadable,
      finished_at, sealed, number
    FROM erasures WHERE organisation_id = acting_organisation()
"""


async def find(connection: PipelineConnection, id: str) -> Erasure | None:
    """Return an erasure of the acting organisation, or None."""
    row = await connection.fetchrow(_ERASURES + " AND id = $1", id)
    return None if row is None else read_row(Erasure, row)


async def newest(connection: PipelineConnection, *, limit: int, below: int | None) -> list[Erasure]:
    """Return up to `limit` erasures of the acting organisation with numbers below `below`, newest first."""
    rows = await connection.fetch(
        _ERASURES + " AND ($1::bigint IS NULL OR number < $1) ORDER BY number DESC LIMIT $2", below, limit
    )
    return [read_row(Erasure, row) for row in rows]


class KeyedBatch(NamedTuple):
    """A batch that still has a data key, with the number of its events."""

    id: BatchId
    day: date
    organisation_id: OrganisationId
    events: int


@dataclass(frozen=True, slots=True)
class Portion:
    """A step of a scan: the batches, the number of unreadable ones, and the id to continue after."""

    batches: Sequence[KeyedBatch]
    unreadable: int
    to: int

    def parts(self, most_events: int) -> Iterator[list[KeyedBatch]]:
        """Yield the batches in parts of at most `most_events` events, or of one batch."""
        part, events = list[KeyedBatch](), 0
        for batch in self.batches:
            if part and events + batch.events > most_events:
                yield part
                part, events = [], 0
            part.append(batch)
            events += batch.events
        if part:
            yield part


async def next_batches(
    connection: PipelineConnection,
    *,
    after: int,
    accepted_until: datetime,
    limit: int,
    organisations: Collection[OrganisationId] | None = None,
) -> Portion | None:
    """Return the batches of these organisations among the next `limit` with a data key; None at the end.

    Without `organisations` they are of every organisation that the session sees. They are in order of id.
    Batches whose state is on a damaged page are only counted.
    """
    with damage.suppressed():
        rows = await connection.fetch(
            f"{_KEYED} AND batch > $2 ORDER BY batch LIMIT $3", accepted_until, after, limit
        )
        return _portion(rows, organisations, unreadable=0, to=rows[-1]["batch"]) if rows else None
    last = await damage.newest_batch(connection)
    if after >= last:
        return None
    to = min(after + limit, last)

    async def read(first: int, last: int) -> list[asyncpg.Record]:
        return await connection.fetch(
            f"{_KEYED} AND batch BETWEEN $2 AND $3 ORDER BY batch", accepted_until, first, last
        )

    found = await damage.read_range(read, connection, after + 1, to)
    return _portion(found.rows, organisations, unreadable=len(found.unreadable), to=to)


_KEYED = """
    SELECT s.batch, s.day, d.organisation_id, s.events FROM batch_states s
    JOIN destinations d ON d.number = s.destination
    WHERE s.accepted_at <= $1 AND s.data_key IS NOT NULL
"""


def _portion(
    rows: Sequence[asyncpg.Record],
    organisations: Collection[OrganisationId] | None,
    *,
    unreadable: int,
    to: int,
) -> Portion:
    found = [KeyedBatch(*row) for row in rows]
    if organisations is not None:
        found = [batch for batch in found if batch.organisation_id in organisations]
    return Portion(found, unreadable, to)


async def advance(
    connection: PipelineConnection, numbers: Sequence[int], *, to: int, scanned: int, unreadable: int
) -> None:
    """Store `to` as the last scanned batch of these erasures.

    Add `scanned` and `unreadable` to their numbers of scanned and unreadable batches.
    """
    await connection.execute(
        "UPDATE erasures SET scanned_to = $2, scanned = scanned + $3, unreadable = unreadable + $4 "
        "WHERE number = ANY($1)",
        numbers,
        to,
        scanned,
        unreadable,
    )


async def add_found(
    connection: PipelineConnection, id: str, *, waiting: int, dead: int, delivered: int
) -> None:
    """Add the numbers of events found to an erasure's receipt, by the status they had."""
    await connection.execute(
        """
        UPDATE erasures SET waiting = waiting + $2, dead = dead + $3, delivered = delivered + $4 WHERE id = $1
        """,
        id,
        waiting,
        dead,
        delivered,
    )


async def finish(connection: PipelineConnection, numbers: Sequence[int]) -> None:
    """Finish these erasures and delete their search values."""
    await connection.execute(
        "UPDATE erasures SET finished_at = now(), sealed = NULL "
        "WHERE number = ANY($1) AND finished_at IS NULL",
        numbers,
    )


@dataclass(frozen=True, slots=True, repr=False)
class LockedBatch:
    """A batch whose state is locked until the transaction ends, with the statuses of its exceptions by place.

    `content` and `shapes` are None when the row of the batch is missing.
    """

    organisation_id: OrganisationId
    destination: DestinationNumber
    disposition: str | None
    settled_at: datetime | None
    tries: int
    events: int
    data_key: bytes
    last_event: datetime
    content: bytes | None
    shapes: bytes | None
    exceptions: dict[int, str]


async def lock(connection: PipelineConnection, batch: BatchId, day: date) -> LockedBatch | None:
    """Lock the state of a batch and read the batch, or return None if its data key was deleted."""
    row = await connection.fetchrow(
        """
        SELECT (SELECT organisation_id FROM destinations WHERE number = s.destination), s.destination,
          s.disposition, s.settled_at, s.tries, s.events, s.data_key, s.last_event, p.content, p.shapes
        FROM batch_states s LEFT JOIN batches p
          ON p.id = s.batch AND p.day = s.day AND p.destination = s.destination
        WHERE s.batch = $1 AND s.day = $2 AND s.data_key IS NOT NULL FOR UPDATE OF s
        """,
        batch,
        day,
    )
    if row is None:
        return None
    rows = await connection.fetch("SELECT place, status FROM exceptions WHERE batch = $1 FOR UPDATE", batch)
    return read_row(LockedBatch, row, exceptions={other["place"]: other["status"] for other in rows})


@dataclass(frozen=True, slots=True)
class ErasedEvents:
    """A conversion to erase: its position in the batch and its new status.

    `left_batch` is true if the state of the batch still counts the conversion and must no longer count it.
    """

    place: int
    status: str
    event_at: datetime
    left_batch: bool


async def rewrite(
    connection: PipelineConnection,
    batch: BatchId,
    day: date,
    locked: LockedBatch,
    *,
    content: bytes,
    data_key: bytes,
    gone: Sequence[ErasedEvents],
) -> None:
    """Replace a batch's content under a new key, and record the new status of erased conversions."""
    await connection.execute(
        "UPDATE batches SET content = $3 WHERE id = $1 AND day = $2", batch, day, content
    )
    left = [erased.place for erased in gone if erased.left_batch]
    await connection.execute(
        """
        UPDATE batch_states SET data_key = $2, events = events - $3,
          -- The figures of journeys count the conversions that leave the batch by their exceptions.
          nodes = (SELECT array_agg(CASE WHEN position - 1 = ANY($4::bigint[]) THEN -abs(node) ELSE node END
            ORDER BY position) FROM unnest(CASE WHEN cardinality(nodes) = 1 AND events > 1
              THEN array_fill(nodes[1], ARRAY[events::integer]) ELSE nodes END)
            WITH ORDINALITY AS n (node, position)),
          -- An open batch that counts no conversion any more is closed. Each conversion has an exception.
          disposition = CASE WHEN disposition IS NULL AND events = $3 THEN 'sent' ELSE disposition END,
          settled_at = CASE WHEN disposition IS NULL AND events = $3 THEN now() ELSE settled_at END
        WHERE batch = $1
        """,
        batch,
        data_key,
        len(left),
        left,
    )
    await connection.execute(
        """
        INSERT INTO exceptions AS e (batch, place, day, destination, status, event_at, code, reason,
          delivered_at, erased_at)
        SELECT $1, g.place, $2, $3, g.status, g.event_at, NULL,
          CASE g.status WHEN 'erased' THEN 'erased' ELSE 'delivered' END,
          -- A delivered conversion without an exception was delivered with its batch.
          CASE g.status WHEN 'delivered' THEN $7::timestamptz END, now()
        FROM unnest($4::smallint[], $5::text[], $6::timestamptz[]) AS g (place, status, event_at)
        ON CONFLICT (batch, place) DO UPDATE SET status = excluded.status, erased_at = now(),
          send_group = NULL, reason = CASE excluded.status WHEN 'erased' THEN 'erased' ELSE e.reason END,
          code = CASE excluded.status WHEN 'erased' THEN NULL ELSE e.code END, changed_at = now()
        """,
        batch,
        day,
        locked.destination,
        [erased.place for erased in gone],
        [erased.status for erased in gone],
        [erased.event_at for erased in gone],
        locked.settled_at,
    )


async def delete_samples(connection: PipelineConnection, destination: DestinationNumber) -> None:
    """Delete the schema samples of a destination that had events of an erased person."""
    await connection.execute(
        "DELETE FROM schema_samples WHERE mapping IN (SELECT m.number FROM mappings m "
        "JOIN destinations d ON d.id = m.destination WHERE d.number = $1)",
        destination,
    )
    await connection.execute(
        "UPDATE schema_fingerprints SET content = '', generation = generation + 1, erasures = erasures + 1 "
        "WHERE destination = $1",
        destination,
    )
