"""What a claim reads: the conversions of the next request, and due events that cannot be sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import msgspec

from app.delivery.access_tokens import Access
from app.domain.batch import EventMetadata, read_shapes
from app.domain.ids import BatchId
from app.domain.pacing.order import QueueKey, WorkKind
from app.store import attempts, batches, due_work

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
    metadata: dict[int, EventMetadata] | None = None

    __repr__ = object.__repr__

    def metadata_of(self, place: int) -> EventMetadata | None:
        """Return the metadata of the event at a position; None if unknown."""
        if self.metadata is None:
            self.metadata = {shape.place: shape for shape in read_shapes(self.shapes) or ()}
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


@dataclass(frozen=True, slots=True)
class Selection:
    """The destination and the kind of request that a lane sends next."""

    queue: due_work.DestinationQueue
    kind: WorkKind
    others_due: bool
    watermarks: Mapping[QueueKey, datetime]  # where the poll and the claim start their scan for due batches


@dataclass(frozen=True, slots=True, repr=False)
class RequestInFlight:
    """A request whose attempt is stored as started, so its outcome must be settled."""

    content: RequestContent
    attempt: attempts.StartedAttempt
    access: Access
    deadline: float  # on this process's monotonic clock
