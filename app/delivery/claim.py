"""Claim the content of the next request: read the due events of a queue, and decrypt them.

A request carries complete batches, or single exceptions for a retry.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import msgspec

from app.crypto import open_batch
from app.delivery.access_tokens import Access
from app.delivery.lane import Lane, Selection
from app.delivery.worker import Worker
from app.domain import batch as packing
from app.domain.ids import BatchId
from app.domain.pacing.order import WorkKind
from app.domain.privacy.carried_key import carried_key
from app.store import PipelineConnection, attempts, batches, due_work, exceptions

# For each kind of request, the queue in the store that holds its events.
QUEUES: Mapping[WorkKind, int] = {
    WorkKind.LIVE: batches.LIVE,
    WorkKind.RETRY: batches.LIVE,
    WorkKind.REPLAY: batches.LOW,
    WorkKind.REPLAY_RETRY: batches.LOW,
}


class BatchSource(msgspec.Struct):
    """The batch that contains a conversion, or the exception row of a conversion that is retried.

    If `failing` is true, the events are already counted as retrying. `shapes` is the encoded metadata of the
    events. It is decoded on first use, because a delivered request does not need it. Without `shapes`, each
    event has the time `default_event_at` and no mapping.
    """

    batch: BatchId
    day: date
    tries: int
    failing: bool
    default_event_at: datetime
    shapes: bytes | None = None
    metadata: dict[int, packing.EventMetadata] | None = None

    __repr__ = object.__repr__

    def metadata_of(self, place: int) -> packing.EventMetadata | None:
        """Return the metadata of the event at a position; None if unknown."""
        if self.metadata is None:
            self.metadata = {shape.place: shape for shape in packing.read_shapes(self.shapes) or ()}
        return self.metadata.get(place)


class Item(msgspec.Struct, frozen=True, gc=False):
    """One conversion of a request. `place` is its position in its batch."""

    source: BatchSource
    place: int
    body: bytes

    __repr__ = object.__repr__

    @property
    def key(self) -> tuple[BatchId, int]:
        return self.source.batch, self.place

    @property
    def event_at(self) -> datetime:
        """The time of the event in UTC, to the millisecond."""
        found = self.source.metadata_of(self.place)
        return self.source.default_event_at if found is None else found.event_at

    @property
    def mapping(self) -> int | None:
        """The number of the conversion's mapping. None for a retry: its exception row has the number."""
        found = self.source.metadata_of(self.place)
        return None if found is None else found.mapping


@dataclass(frozen=True, slots=True, repr=False)
class RequestContent:
    """The conversions of one request, in order."""

    queue: due_work.DestinationQueue
    items: tuple[Item, ...]
    too_old: tuple[Item, ...]  # past the age limit: they expire and are not sent
    batches: tuple[BatchId, ...]  # the complete batches; none for a retry
    exceptions: tuple[
        tuple[BatchId, int], ...
    ]  # the single conversions of a retry; none for complete batches
    send_group: int | None  # for a retry of a half of a refused request, the half's id
    has_more: bool  # the lane has more due events than this request contains
    kind: WorkKind


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Conversions that cannot be decrypted: all conversions of a batch, or one conversion that is retried.

    Either their data key was deleted, or the row is damaged.
    """

    source: BatchSource
    places: tuple[int, ...]
    data_key: bytes | None = None  # of a batch: the encrypted data key that did not open it
    problem: str = "not_opened"  # or 'missing', or the SQLSTATE of a damaged page


@dataclass(frozen=True, slots=True, repr=False)
class Claim:
    """The result of a claim: the content of a request, if any, and batches that cannot be sent now.

    `erasable` has the batches with events of an erased person. They are rewritten before they are sent.
    `postponed` has the batches of which this process lacks the encryption key. `too_old` has the conversions
    past the age limit if no other is due.
    """

    content: RequestContent | None
    expired: tuple[batches.DueBatch, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    erasable: tuple[tuple[BatchId, date], ...] = ()
    postponed: tuple[BatchId, ...] = ()
    too_old: tuple[Item, ...] = ()

    @property
    def unsent_batches(self) -> frozenset[BatchId]:
        """The batches that this claim settles or rewrites without sending them.

        If two claims have the same set, the settlement of the first claim had no effect.
        """
        return frozenset(
            [batch.id for batch in self.expired]
            + [row.source.batch for row in self.unreadable]
            + [batch for batch, _ in self.erasable]
            + [item.source.batch for item in self.too_old]
        )


@dataclass(frozen=True, slots=True, repr=False)
class RequestInFlight:
    """A request whose attempt is stored as started, so its outcome must be settled."""

    content: RequestContent
    attempt: attempts.StartedAttempt
    access: Access
    deadline: float  # on this process's monotonic clock


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """The rules of a claim. Events before `oldest` expire. Events with `erased_values` are not sent."""

    worker: Worker
    oldest: datetime
    erased_values: Collection[str]


async def read_batches(
    connection: PipelineConnection, lane: Lane, selection: Selection, rules: ClaimRules
) -> Claim:
    """Read the due batches that fill one request, and advance the lane's watermark to the first batch."""
    queue = selection.queue
    key = queue.number, QUEUES[selection.kind]
    due, has_more = await batches.due(
        connection,
        queue.number,
        queue=QUEUES[selection.kind],
        in_flight=list(lane.batches_in_flight),
        max_events=packing.MAX_EVENTS,
        max_bytes=packing.MAX_BYTES,
        watermark=selection.watermarks.get(key),
    )
    if not due:
        return Claim(None)
    lane.watermarks.advance(key, due[0].due_at)
    items: list[Item] = []
    sendable: list[BatchId] = []
    expired, unreadable, erasable, postponed = [], [], [], []
    for batch in due:
        if batch.last_event < rules.oldest:
            expired.append(batch)
            continue
        opened = await _open(connection, batch, rules)
        is_erased: bool | None = False
        if rules.erased_values and opened is not None:
            is_erased = _carries_erased([item.body for item in opened], rules.erased_values)
        if opened is None and await rules.worker.lacks_key(connection, batch.data_key):
            postponed.append(batch.id)
        elif opened is None or is_erased is None:
            unreadable.append(await _unreadable(connection, batch))
        elif is_erased:
            erasable.append((batch.id, batch.day))
        else:
            sendable.append(batch.id)
            items += opened
    content, too_old = None, tuple[Item, ...]()
    if sendable:
        # A batch states the time of its first event, so the other times rarely need to be decoded.
        may_be_too_old = min([batch.first_event for batch in due]) < rules.oldest
        current, too_old = _split_by_age(items, rules.oldest) if may_be_too_old else (tuple(items), ())
        if current:
            has_more = has_more or selection.others_due
            content = RequestContent(
                queue, current, too_old, tuple(sendable), (), None, has_more=has_more, kind=selection.kind
            )
            too_old = ()  # they expire when the request is settled
    return Claim(content, tuple(expired), tuple(unreadable), tuple(erasable), tuple(postponed), too_old)


async def read_exceptions(
    connection: PipelineConnection, lane: Lane, selection: Selection, rules: ClaimRules
) -> Claim:
    """Read the due exceptions that fill one request. Due exceptions are few, so no watermark is needed."""
    due = await exceptions.due(
        connection,
        selection.queue.number,
        queue=QUEUES[selection.kind],
        in_flight=list(lane.exceptions_in_flight),
        max_events=packing.MAX_EVENTS,
    )
    if not due:
        return Claim(None)
    contents = await batches.read(connection, {(row.batch, row.day) for row in due}, selection.queue.number)
    bodies: dict[BatchId, Mapping[int, bytes]] = {}
    postponed: set[BatchId] = set()
    for batch, (data_key, encrypted, _) in contents.items():
        bodies[batch] = open_batch(batch, data_key, encrypted, rules.worker.vault) or {}
        if not bodies[batch] and await rules.worker.lacks_key(connection, data_key):
            postponed.add(batch)
    items: list[Item] = []
    unreadable: list[Unreadable] = []
    erasable: set[tuple[BatchId, date]] = set()
    size = 0
    for row in due:
        if row.batch in postponed:
            continue
        body = bodies.get(row.batch, {}).get(row.place)
        is_erased: bool | None = False
        if rules.erased_values and body is not None:
            is_erased = _carries_erased([body], rules.erased_values)
        if body is None or is_erased is None:
            unreadable.append(Unreadable(_source(row), (row.place,)))
            continue
        if is_erased:
            erasable.add((row.batch, row.day))
            continue
        size += len(body)
        if items and size > packing.MAX_BYTES:
            break
        items.append(Item(_source(row), row.place, body))
    current, too_old = _split_by_age(items, rules.oldest)
    content = None
    if current:
        keys = tuple(item.key for item in current)
        content = RequestContent(
            selection.queue, current, too_old, (), keys, due[0].send_group, has_more=True, kind=selection.kind
        )
        too_old = ()
    return Claim(content, (), tuple(unreadable), tuple(sorted(erasable)), tuple(sorted(postponed)), too_old)


def _source(row: exceptions.DueException) -> BatchSource:
    return BatchSource(row.batch, row.day, row.tries, failing=True, default_event_at=row.event_at)


async def _open(
    connection: PipelineConnection, batch: batches.DueBatch, rules: ClaimRules
) -> list[Item] | None:
    """Decrypt a due batch and return its conversions. Conversions with an exception row are left out.

    Returns None if the batch is damaged.
    """
    bodies = open_batch(batch.id, batch.data_key, batch.content, rules.worker.vault)
    if bodies is not None and len(bodies) > batch.events:
        excepted = await exceptions.places(connection, batch.id)
        bodies = {place: body for place, body in bodies.items() if place not in excepted}
    if bodies is None or len(bodies) != batch.events:
        return None
    source = BatchSource(
        batch.id,
        batch.day,
        batch.tries,
        batch.tries > 0,
        default_event_at=batch.last_event,
        shapes=batch.shapes,
    )
    return [Item(source, place, body) for place, body in bodies.items()]


async def _unreadable(connection: PipelineConnection, batch: batches.DueBatch) -> Unreadable:
    """Return the conversions of a batch that cannot be decrypted, without those with an exception row."""
    excepted = await exceptions.places(connection, batch.id)
    shapes = packing.read_shapes(batch.shapes) or ()
    places = [shape.place for shape in shapes if shape.place not in excepted]
    if len(places) != batch.events:
        # The metadata is damaged too. Take the lowest positions without an exception row, as many as the
        # batch has events.
        places = [place for place in range(packing.MAX_EVENTS + len(excepted)) if place not in excepted]
    source = BatchSource(batch.id, batch.day, batch.tries, batch.tries > 0, default_event_at=batch.last_event)
    return Unreadable(source, tuple(places[: batch.events]), batch.data_key, batch.problem or "not_opened")


def _carries_erased(bodies: Sequence[bytes], erased_values: Collection[str]) -> bool | None:
    """Return whether a conversion contains an erased value. Return None if a conversion is not JSON."""
    try:
        return True in {carried_key(body, erased_values) is not None for body in bodies}
    except ValueError:
        return None


def _split_by_age(items: Sequence[Item], oldest: datetime) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Return the items to send, and the items past the age limit."""
    current = tuple(item for item in items if item.event_at >= oldest)
    if len(current) == len(items):
        return current, ()
    return current, tuple(item for item in items if item.event_at < oldest)
