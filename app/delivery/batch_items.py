"""What a claim finds and a request carries: items and where they come from, a load of them, what is unfit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import msgspec

from app.delivery.access_tokens import Access
from app.domain.batch import read_shapes
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
    """Where items come from, and what holds for all of them: a whole batch, or one conversion of a batch.

    `failing` tells that they are counted as retrying already. Their times are read from the `shapes` when
    somebody asks, which for what is delivered at once nobody does; without them `otherwise` is the time.
    """

    batch: BatchId
    day: date
    tries: int
    failing: bool
    otherwise: datetime
    shapes: bytes | None = None
    times: dict[int, datetime] | None = None

    __repr__ = object.__repr__

    def event_at(self, place: int) -> datetime:
        """Return an event's own time, UTC, to the millisecond."""
        if not self.shapes:
            return self.otherwise
        if self.times is None:
            self.times = {shape.place: shape.event_at for shape in read_shapes(self.shapes) or ()}
        return self.times.get(place, self.otherwise)


class Item(msgspec.Struct, frozen=True, gc=False):
    """A conversion of a load."""

    source: BatchSource
    place: int
    body: bytes

    __repr__ = object.__repr__

    @property
    def batch(self) -> BatchId:
        """Return the batch that holds it."""
        return self.source.batch

    @property
    def day(self) -> date:
        """Return the day of its batch."""
        return self.source.day

    @property
    def key(self) -> tuple[BatchId, int]:
        """Return where it lies: its batch and its place there."""
        return self.source.batch, self.place

    @property
    def tries(self) -> int:
        """Return how often it has failed."""
        return self.source.tries

    @property
    def failing(self) -> bool:
        """Tell whether it is counted as retrying already."""
        return self.source.failing

    @property
    def event_at(self) -> datetime:
        """Return the event's own time, UTC, to the millisecond."""
        return self.source.event_at(self.place)


@dataclass(frozen=True, slots=True, repr=False)
class RequestContent:
    """The conversions of one request, in order. `whole` batches for a live load, none for a retry.

    `late` are those that passed the age limit: they stay behind and expire. `send_group` is the half of a
    refused request that a retry belongs to. `may_be_more` tells that the store held more than fits.
    """

    queue: lanes.DestinationQueue
    items: tuple[Item, ...]
    late: tuple[Item, ...]
    whole: tuple[BatchId, ...]
    send_group: int | None
    may_be_more: bool
    service: WorkKind

    @property
    def is_live(self) -> bool:
        """Tell a load of whole batches from one of exceptions."""
        return bool(self.whole)

    @property
    def is_plain(self) -> bool:
        """Tell a load of whole batches of which nothing stays behind."""
        return bool(self.whole) and not self.late

    @property
    def row_queue(self) -> int:
        """Return the queue in which its conversions wait when they leave it."""
        return QUEUES[self.service]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Conversions that cannot be opened: their key is gone or not configured, or the row is torn.

    A whole batch with the wrapped `data_key` that was tried, or one conversion that is retried alone.
    `problem` says why: 'missing', 'not_opened', or the SQLSTATE of the page.
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
    """What a claim found: perhaps a load, and batches that must leave the road without one.

    `erasable` hold what a person asked to have erased; they are rewritten before they are sent.
    """

    load: RequestContent | None
    expired: tuple[batches.DueBatch, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    erasable: tuple[tuple[BatchId, date], ...] = ()

    @property
    def ids(self) -> frozenset[BatchId]:
        """Return the batches that it names; the same again means that taking them off had no effect."""
        late = self.load.late if self.load is not None else ()
        unsent = (*(one.id for one in self.expired), *(one.batch for one in self.unreadable))
        return frozenset((*unsent, *(batch for batch, _ in self.erasable), *(item.batch for item in late)))


@dataclass(frozen=True, slots=True)
class Selection:
    """What kind of request a lane sends next, and of which destination."""

    queue: lanes.DestinationQueue
    service: WorkKind
    others_due: bool
    watermarks: Mapping[Key, datetime]  # where the look began, and so the claim does


@dataclass(frozen=True, slots=True, repr=False)
class RequestInFlight:
    """A request whose attempt is committed: from here on its outcome must be settled."""

    load: RequestContent
    started: attempts.StartedAttempt
    access: Access
    until: float  # monotonic: the request must be over by then, for others count from its start
    may_be_more: bool  # the lane owes more than this request carries
