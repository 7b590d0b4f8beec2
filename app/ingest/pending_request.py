"""A request of events: evaluated, then stored by a flush, with the results of its events."""

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


class SenderAccess(msgspec.Struct, frozen=True):
    """The destinations to which a sender may send: all of its organisation if `destinations` is None."""

    organisation: OrganisationId
    destinations: frozenset[DestinationId] | None = None


class PendingRequest(msgspec.Struct, eq=False):
    """The events of one request, and their results. Contains personal data.

    `response` tells whether the events were stored. If not, no event was acknowledged, and the sender may
    repeat the request.
    """

    events: Sequence[Event | Rejection]
    access: SenderAccess
    trace: RequestTrace
    low_priority: bool = False  # its events are sent after live events, like replays
    response: "asyncio.Future[bool]" = msgspec.field(default_factory=asyncio.Future)
    # The evaluation sets these lists, one entry per event, and the journey nodes of the events.
    evaluated: list[Evaluated] = []
    destinations: list[DestinationNumber | None] = []
    nodes: set[JourneyNode] = set()
    # Whether each event is a candidate with one ledger key and a pinned name, or has no destination.
    is_plain: bool = False
    # The evaluation sets the configuration versions and the clock's offset that it used.
    versions: dict[DestinationId, int | None] = {}
    clock_offset: float = 0.0
    # The flush sets the result of each event, and the time at which it counted rejected events.
    dedup: Sequence[DedupResult | None] = ()
    rejected_at: datetime | None = None

    __repr__ = object.__repr__
