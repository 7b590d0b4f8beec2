"""A request that waits for its flush, its evaluated events, and their results."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from app.domain.conversion.convert import Conversion, EventWarning
from app.domain.event import Event, JourneyIds, Rejection
from app.domain.ids import DestinationId, DestinationNumber, OrganisationId
from app.domain.trace import RequestTrace
from app.ingest.destination_cache import CachedDestination, PublishedMapping
from app.store.events.journey_figures import JourneyNode


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An event that can be stored.

    `keys` holds its ledger keys: the first from its event id, the second from its Amazon eventId if that is
    mapped.
    """

    destination: CachedDestination
    mapping: PublishedMapping
    conversion: Conversion
    content: bytes
    keys: tuple[bytes, ...]
    warnings: tuple[EventWarning, ...]
    journey: JourneyIds
    is_plain: bool  # it has one ledger key, and the name of its type is pinned

    __repr__ = object.__repr__  # holds personal data


Evaluated = Candidate | Rejection


class DedupResult(StrEnum):
    """Whether an event is new, or repeats an accepted event, or has the same id with other content."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    AMAZON_ID_CONFLICT = "amazon_id_conflict"  # the mapped Amazon eventId was used with other content

    __hash__ = str.__hash__  # Enum's hash is written in Python and is called for every event


class RequestResults(msgspec.Struct, frozen=True):
    """The results of one request, one entry per event in order: its evaluation and its dedup result.

    `rejected_at` is the time at which rejected events were counted.
    """

    evaluated: Sequence[Evaluated]
    dedup: Sequence[DedupResult | None]
    destinations: Sequence[DestinationNumber | None] = ()
    rejected_at: datetime | None = None

    __repr__ = object.__repr__  # holds personal data


class SenderAccess(msgspec.Struct, frozen=True):
    """The destinations to which a sender may send: all of its organisation if `destinations` is None."""

    organisation: OrganisationId
    destinations: frozenset[DestinationId] | None = None


class NotStored(msgspec.Struct, frozen=True):
    """No event of a request was acknowledged, and its sender may repeat it."""


class PendingRequest(msgspec.Struct, eq=False):
    """The events of one request before their flush. Contains personal data."""

    events: Sequence[Event | Rejection]
    access: SenderAccess
    trace: RequestTrace
    low_priority: bool = False  # its events are sent after live events, like replays
    response: "asyncio.Future[RequestResults | NotStored]" = msgspec.field(default_factory=asyncio.Future)
    # The evaluation sets these lists, one entry per event, and the journey nodes of the events.
    evaluated: list[Evaluated] = []
    destinations: list[DestinationNumber | None] = []
    nodes: set[JourneyNode] = set()
    # Whether each event is a candidate with one ledger key and a pinned name, or has no destination.
    is_plain: bool = False
    # The evaluation sets the configuration versions and the clock's offset that it used.
    versions: dict[DestinationId, int | None] = {}
    clock_offset: float = 0.0

    __repr__ = object.__repr__
