"""The content of claims and requests: conversions, their batches, and content that cannot be sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import msgspec

from app.delivery.access_tokens import Access
from app.domain.batch import EventMetadata, read_shapes
from app.domain.ids import BatchId
from app.domain.pacing.fair_queueing import WorkKind
from app.domain.pacing.watermarks import Key
from app.store import attempts, batches, lanes

QUEUES: Mapping[WorkKind, int] = {
    WorkKind.LIVE: batches.LIVE,
    WorkKind.RETRY: batches.LIVE,
    WorkKind.REPLAY: batches.LOW,
    WorkKind.REPLAY_RETRY: batches.LOW,
}


class BatchSource(msgspec.Struct):
    """The batch of conversions, and the facts that apply to all of them.

    `failing`: they are counted as retrying already. `shapes` are decoded on first use; delivered
    requests never need them. Without `shapes` every event has `default_event_at` and no mapping.
    """

    batch: BatchId
    day: date
    tries: int
    failing: bool
    default_event_at: datetime
    shapes: bytes | None = None
    metadata: dict[int, EventMetadata] | None = None

    __repr__ = object.__repr__

    def event_at(self, place: int) -> datetime:
        """Return an event's own time, UTC, to the millisecond."""
        found = self._metadata_of(place)
        return self.default_event_at if found is None else found.event_at

    def mapping(self, place: int) -> int | None:
        """Return the number of an event's mapping."""
        found = self._metadata_of(place)
        return None if found is None else found.mapping

    def _metadata_of(self, place: int) -> EventMetadata | None:
        if not self.shapes:
            return None
        if self.metadata is None:
            self.metadata = {shape.place: shape for shape in read_shapes(self.shapes) or ()}
        return self.metadata.get(place)


class Item(msgspec.Struct, frozen=True, gc=False):
    """One conversion of a request."""

    source: BatchSource
    place: int
    body: bytes

    __repr__ = object.__repr__

    @property
    def batch(self) -> BatchId:
        """Return its batch."""
        return self.source.batch

    @property
    def day(self) -> date:
        """Return the day of its batch."""
        return self.source.day

    @property
    def key(self) -> tuple[BatchId, int]:
        """Return its batch and its position there."""
        return self.source.batch, self.place

    @property
    def tries(self) -> int:
        """Return its number of failed attempts."""
        return self.source.tries

    @property
    def failing(self) -> bool:
        """Return whether it is already counted as retrying."""
        return self.source.failing

    @property
    def event_at(self) -> datetime:
        """Return the event's own time, UTC, to the millisecond."""
        return self.source.event_at(self.place)

    @property
    def mapping(self) -> int | None:
        """Return the number of its mapping; None for a retry, whose exception row has it already."""
        return self.source.mapping(self.place)


@dataclass(frozen=True, slots=True, repr=False)
class RequestContent:
    """The conversions of one request, in order.

    `batches`: its complete batches, none for a retry. `too_old`: conversions past the age limit;
    they are not sent and expire. `send_group`: the half of a divided request that a retry belongs to.
    `has_more`: the store has more due events than fit.
    """

    queue: lanes.DestinationQueue
    items: tuple[Item, ...]
    too_old: tuple[Item, ...]
    batches: tuple[BatchId, ...]
    send_group: int | None
    has_more: bool
    kind: WorkKind

    @property
    def is_live(self) -> bool:
        """Return whether it carries complete batches, not single exceptions."""
        return bool(self.batches)

    @property
    def is_complete(self) -> bool:
        """Return whether it carries complete batches with all their conversions."""
        return bool(self.batches) and not self.too_old

    @property
    def row_queue(self) -> int:
        """Return the queue for the exception rows of its conversions."""
        return QUEUES[self.kind]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Conversions that cannot be decrypted: their key was deleted or is not configured, or the row is
    damaged.

    A complete batch, with the wrapped `data_key` that was tried, or one conversion that is retried
    separately. `problem` is 'missing', 'not_opened', or the SQLSTATE of the damaged page.
    """

    batch: BatchId
    day: date
    places: tuple[int, ...]
    failing: bool
    event_at: datetime
    data_key: bytes | None = None
    problem: str = "not_opened"


@dataclass(frozen=True, slots=True, repr=False)
class Claim:
    """The result of a claim: the content of a request, if any, and batches that leave the queue unsent.

    `erasable`: batches with events of an erased person. They are rewritten before they are sent.
    """

    content: RequestContent | None
    expired: tuple[batches.DueBatch, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    erasable: tuple[tuple[BatchId, date], ...] = ()

    @property
    def unsent_batches(self) -> frozenset[BatchId]:
        """Return the batches to settle without sending them. The same set twice: settling had no effect."""
        too_old = self.content.too_old if self.content is not None else ()
        return frozenset(
            (
                *(batch.id for batch in self.expired),
                *(batch.batch for batch in self.unreadable),
                *(batch for batch, _ in self.erasable),
                *(item.batch for item in too_old),
            )
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """The destination and the kind of request that a lane sends next."""

    queue: lanes.DestinationQueue
    kind: WorkKind
    others_due: bool
    watermarks: Mapping[Key, datetime]  # start of the poll's scan; the claim starts there too


@dataclass(frozen=True, slots=True, repr=False)
class RequestInFlight:
    """A request whose attempt is committed as started: its outcome must be settled."""

    content: RequestContent
    attempt: attempts.StartedAttempt
    access: Access
    deadline: float  # monotonic; other workers count from the attempt's start
    has_more: bool  # the lane has more due events than this request carries
