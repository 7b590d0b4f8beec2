"""Erasures: find the batches that may have events of a person, rewrite them, and record the result.

The search values are stored encrypted (`sealed`) until the scan ends. The receipt has no personal data.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from app.domain.ids import AttemptId, BatchId, DestinationId, DestinationNumber, OrganisationId
from app.store import PipelineConnection, batches, columns_of, fetch_rows, fetch_scalar, read_row, read_sql
from app.store.database import damage, partitions
from app.store.transactions import set_lock_timeout

SQL: Final = read_sql(__file__)

_LANE_LOCK_S = 1.0  # the lanes that are locked already wait meanwhile


@dataclass(frozen=True, slots=True)
class PendingErasure:
    """An unfinished erasure, with encrypted search values (`sealed`) and the last batch searched.

    `sealed` is None if the reader knows the values.
    """

    organisation_id: OrganisationId
    id: str
    number: int
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


async def create(
    connection: PipelineConnection, id: str, *, by: str, kinds: Sequence[str], sealed: bytes
) -> datetime:
    """Create an erasure and return the time of the request.

    Flushes wait until the commit, so that the scan finds every event that was acknowledged earlier. After the
    commit, no attempt starts with a batch that a worker read earlier.
    """
    # The lanes come first: a worker that is frozen in a transaction may hold one, and flushes must not wait
    # for it. Locked in order of id, so that two concurrent erasures cannot deadlock.
    await set_lock_timeout(connection, seconds=_LANE_LOCK_S)
    await connection.execute(SQL["count_on_lanes"])
    await partitions.hold_flushes(connection)
    return await fetch_scalar(connection, datetime, SQL["create"], id, by, list(kinds), sealed)


async def newest_attempt(connection: PipelineConnection) -> AttemptId:
    """Return the id of the last attempt that may be in flight now; 0 without one."""
    return AttemptId(await fetch_scalar(connection, int, SQL["newest_attempt"]))


async def under_way(connection: PipelineConnection, newest: AttemptId, *, younger_than: timedelta) -> bool:
    """Return whether an attempt up to the attempt `newest` may still be in flight.

    An attempt that started more than `younger_than` ago has ended.
    """
    return await fetch_scalar(connection, bool, SQL["under_way"], newest, younger_than)


async def pending(connection: PipelineConnection, *, known: Sequence[int]) -> list[PendingErasure]:
    """Return the unfinished erasures, oldest first. The values of `known` numbers are left out."""
    return await fetch_rows(connection, PendingErasure, SQL["pending"], known)


async def oldest_age_s(connection: PipelineConnection) -> float:
    """Return the seconds since the oldest unfinished erasure was requested; 0 if all are finished."""
    return await fetch_scalar(connection, float, SQL["oldest_age_s"])


async def find(connection: PipelineConnection, id: str) -> Erasure | None:
    """Return an erasure of the acting organisation, or None."""
    found = await fetch_rows(connection, Erasure, SQL["newest"], None, 1, id)
    return found[0] if found else None


async def newest(connection: PipelineConnection, *, limit: int, below: int | None) -> list[Erasure]:
    """Return up to `limit` erasures of the acting organisation with numbers below `below`, newest first."""
    return await fetch_rows(connection, Erasure, SQL["newest"], below, limit, None)


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

    def parts(self, most_events: int, organisations: Collection[OrganisationId]) -> Iterator["Portion"]:
        """Yield the batches of these organisations in parts of at most `most_events` events.

        A part has at least one batch, except for the last one.
        """
        part, events = list[KeyedBatch](), 0
        for batch in self.batches:
            if batch.organisation_id not in organisations:
                continue
            if part and events + batch.events > most_events:
                yield Portion(part, 0, part[-1].id)
                part, events = [], 0
            part.append(batch)
            events += batch.events
        yield Portion(part, self.unreadable, self.to)


async def next_batches(
    connection: PipelineConnection, *, after: int, last: BatchId, limit: int
) -> Portion | None:
    """Return the next `limit` batches with a data key, up to `last`, or None at the end.

    They are in order of id, of every organisation that the session sees. Batches whose state is on a damaged
    page are only counted.
    """
    async with damage.tolerated(connection):
        rows = await connection.fetch(SQL["next_batches"], limit, after + 1, last)
        return Portion([KeyedBatch(*row) for row in rows], 0, rows[-1]["batch"]) if rows else None
    if after >= last:
        return None
    to = min(after + limit, last)
    found = await damage.read_range(connection, SQL["next_batches"], limit, first=after + 1, last=to)
    return Portion([KeyedBatch(*row) for row in found.rows], len(found.unreadable), to)


@dataclass(frozen=True, slots=True)
class ReadableBatch:
    """A batch that still has a data key. `exceptions` has the status of each event that has its own row.

    `content` is encrypted with `data_key`, which is itself encrypted. Both are None if they cannot be read.
    """

    id: BatchId
    destination: DestinationId | None
    disposition: str | None
    exceptions: dict[int, str]
    data_key: bytes | None = field(repr=False)
    content: bytes | None = field(repr=False)


async def readable(connection: PipelineConnection, keyed: Sequence[KeyedBatch]) -> list[ReadableBatch]:
    """Return those of these batches that belong to the acting organisation, with their content."""
    places = [(batch.id, batch.day) for batch in keyed]
    contents = await batches.read(connection, places)
    found = []
    for row in await connection.fetch(SQL["readable"], *columns_of(keyed, "id", "day")):
        data_key, content, _ = contents.get(row["batch"], (None, None, None))
        exceptions = dict(zip(row["places"] or (), row["statuses"] or (), strict=True))
        found.append(
            ReadableBatch(row["batch"], row["destination"], row["disposition"], exceptions, data_key, content)
        )
    return found


async def advance(
    connection: PipelineConnection, numbers: Sequence[int], *, to: int, scanned: int, unreadable: int
) -> None:
    """Store `to` as the last scanned batch of these erasures.

    Add `scanned` and `unreadable` to their numbers of scanned and unreadable batches.
    """
    await connection.execute(SQL["advance"], numbers, to, scanned, unreadable)


async def add_found(
    connection: PipelineConnection, id: str, *, waiting: int, dead: int, delivered: int
) -> None:
    """Add the numbers of events found to an erasure's receipt, by the status they had."""
    await connection.execute(SQL["add_found"], id, waiting, dead, delivered)


async def finish(connection: PipelineConnection, numbers: Sequence[int]) -> None:
    """Finish these erasures and delete their search values."""
    await connection.execute(SQL["finish"], numbers)


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
    await connection.execute(SQL["lock"], batch, day)
    # A separate statement: after a wait for the lock, one that joins the content reads that of before.
    row = await connection.fetchrow(SQL["read_locked"], batch, day)
    if row is None:
        return None
    exceptions = {
        row["place"]: row["status"] for row in await connection.fetch(SQL["lock_exceptions"], batch)
    }
    return read_row(LockedBatch, row, exceptions=exceptions)


@dataclass(frozen=True, slots=True)
class ErasedEvent:
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
    gone: Sequence[ErasedEvent],
) -> None:
    """Replace a batch's content under a new key, and record the new status of erased conversions."""
    await connection.execute(SQL["rewrite_content"], batch, day, content)
    left = [erased.place for erased in gone if erased.left_batch]
    await connection.execute(SQL["rewrite_state"], batch, data_key, len(left), left)
    columns = columns_of(gone, "place", "status", "event_at")
    arguments = (batch, day, locked.destination, *columns, locked.settled_at)
    await connection.execute(SQL["write_exceptions"], *arguments)


async def delete_samples(connection: PipelineConnection, destination: DestinationNumber) -> None:
    """Delete the schema samples of a destination that had events of an erased person.

    The fingerprints come first, because a process that writes samples also locks them first. After the wait
    for that lock, the samples of a write in progress are deleted with the others.
    """
    await connection.execute(SQL["empty_fingerprints"], destination)
    await connection.execute(SQL["delete_samples"], destination)
