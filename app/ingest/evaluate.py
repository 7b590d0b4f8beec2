"""A request of events, and its evaluation: each event is matched to a published mapping and converted.

A flush then stores the request, and sets the results of its events.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import structs

from app.computation_thread import ComputationThread
from app.domain.conversion.convert import ID_DERIVED, Conversion, EventWarning, Work
from app.domain.destination import State
from app.domain.event import (
    NO_JOURNEY,
    Event,
    Events,
    JourneyIds,
    Rejection,
    amazon_key,
    content_digest,
    derived_event_id,
    event_key,
    journey_ids,
)
from app.domain.ids import DestinationId, DestinationNumber, MappingId, OrganisationId
from app.domain.mapping.reading import MAX_STEPS
from app.domain.trace import RequestTrace
from app.ingest.destination_cache import CachedDestination, DestinationCache, PublishedMapping
from app.store import PipelineConnection
from app.store import flush as flush_store
from app.store.database.clock import DatabaseClock
from app.store.events.journey_figures import JourneyNode

# A large request is evaluated in slices of this many events, one to two milliseconds of CPU time each.
# Between two slices the event loop serves other requests.
SLICE_EVENTS = 50
# A slice also ends after this many steps: as many as one event may take, ten milliseconds of CPU time.
SLICE_STEPS = MAX_STEPS
_TOO_MUCH_WORK = "Converting the events before it took all the work that a request may cost."


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

    def rejected(self, reason: str, field: str | None, mapping_field: str | None, detail: str) -> Rejection:
        """Return the rejection of this event."""
        event_id, mapping = self.conversion.event_id, self.mapping.number
        return Rejection(
            reason, field, mapping_field, detail, event_id, mapping=mapping, journey=self.journey
        )


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

    events: Events
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


@dataclass(slots=True, repr=False)
class Evaluator:
    """Evaluates the events of requests. `pepper` is the key of content digests.

    `thread` reads and evaluates large events, one at a time: the values of one take up to 100 MB.
    """

    destinations: DestinationCache
    pepper: bytes
    clock: DatabaseClock
    thread: ComputationThread = field(default_factory=ComputationThread)

    async def evaluate(self, request: PendingRequest) -> None:
        """Evaluate the events of a request, a large one in slices: one for each event-loop iteration.

        Large events are evaluated in a thread.

        Records in the request what the evaluation depends on: the clock's offset, the destinations and their
        versions. Raises MalformedBody.
        """
        now, request.clock_offset = self.clock.now(), self.clock.offset
        request.versions = {}
        found: dict[str | None, CachedDestination | None] = {None: None}
        evaluated: list[Evaluated] = []
        numbers: list[DestinationNumber | None] = []
        nodes: set[JourneyNode] = set()
        is_plain, work = True, Work()
        pause_below = work.left - SLICE_STEPS

        def evaluate_one(index: int) -> tuple[Evaluated, CachedDestination | None]:
            event = request.events.read(request.events.members[index])
            if (id_ := event.destination_id) not in found:
                found[id_] = self._visible(DestinationId(id_ or ""), request)
            destination = found[id_]
            if isinstance(event, Rejection):
                return event, destination
            return evaluate(event, destination, self.pepper, now, work), destination

        for index in range(len(request.events.members)):
            if (index and index % SLICE_EVENTS == 0) or work.left < pause_below:
                pause_below = work.left - SLICE_STEPS
                await asyncio.sleep(0)
            if request.events.is_large(index):
                each, destination = await self.thread.run(request.access.organisation, evaluate_one, index)
            else:
                each, destination = evaluate_one(index)
            evaluated.append(each)
            if destination is None:
                numbers.append(None)
                continue
            number = destination.stored.number
            numbers.append(number)
            nodes.add(node_of(number, each.journey))
            is_plain = is_plain and type(each) is Candidate and each.is_plain
        request.evaluated, request.destinations = evaluated, numbers
        request.nodes, request.is_plain = nodes, is_plain

    def _visible(self, id_: DestinationId, request: PendingRequest) -> CachedDestination | None:
        """Return a destination if its sender may use it, else None. Records its version in the request."""
        access = request.access
        if not id_ or (access.destinations is not None and id_ not in access.destinations):
            return None
        destination = self.destinations.get(id_)
        request.versions[id_] = None if destination is None else destination.stored.version
        if destination is None or destination.stored.organisation != access.organisation:
            return None
        return destination

    async def refresh(
        self, connection: PipelineConnection, requests: Sequence[PendingRequest]
    ) -> flush_store.FlushPreconditions:
        """Read the present configuration of the destinations of these requests; return the preconditions.

        Each request of `outdated` must then be evaluated again. So a configuration change takes effect in
        every process as soon as it is acknowledged.
        """
        await self.clock.ensure(connection)
        used = {id_ for request in requests for id_ in request.versions}
        current = await flush_store.read_preconditions(connection, used)
        stale: set[DestinationId] = {
            id_ for id_ in used if current.versions.get(id_) != self.destinations.version(id_)
        }
        if stale:
            await self.destinations.refresh(connection, stale)
        return current

    def outdated(self, requests: Sequence[PendingRequest]) -> list[PendingRequest]:
        """Return the requests whose evaluation used an outdated configuration version or clock."""
        return [
            request
            for request in requests
            if self.clock.differs_from(request.clock_offset)
            or any(version != self.destinations.version(id_) for id_, version in request.versions.items())
        ]


def evaluate(
    event: Event, destination: CachedDestination | None, pepper: bytes, now: datetime, work: Work
) -> Evaluated:
    """Match an event to its mapping and convert it, or return its rejection.

    `destination` is the event's, or None if it does not exist for the sender. `work` is what the events of
    the request may still take.
    """
    mapping = match_mapping(event, destination)
    if isinstance(mapping, Rejection):
        return mapping
    assert destination is not None
    assert mapping.plan is not None
    stored = destination.stored
    content = content_digest(event.content, pepper)
    event_id = event.event_id if event.event_id is not None else derived_event_id(content)
    conversion: Conversion | Rejection
    if work.left > 0:
        conversion = mapping.plan.convert(event, event_id, now, work=work)
    else:
        conversion = Rejection("too_much_work", None, None, _TOO_MUCH_WORK, event_id)
    journey = journey_ids(event.content)
    if isinstance(conversion, Rejection):
        return structs.replace(conversion, destination_id=stored.id, journey=journey, mapping=mapping.number)
    keys: tuple[bytes, ...] = (event_key(stored.id, mapping.id, event_id),)
    is_plain = conversion.event_type in stored.pins
    if "event_id" in mapping.plan.mapping.by_field:
        # If two events have the same Amazon eventId, Amazon counts only one event and reports no error.
        owner = (stored.organisation, stored.settings.region, stored.settings.advertiser_id)
        keys += (amazon_key(*owner, conversion.amazon_event_id),)
        is_plain = False
    warnings = conversion.warnings
    if event.event_id is None:
        warnings = (ID_DERIVED, *warnings)
    return Candidate(destination, mapping, conversion, content, keys, warnings, journey, is_plain)


def node_of(destination: DestinationNumber, journey: JourneyIds | None) -> JourneyNode:
    """Return the node of an event with these ids."""
    ids = journey or NO_JOURNEY
    return destination, ids.journey_id or "", ids.node_id or ""


def match_mapping(event: Event, destination: CachedDestination | None) -> PublishedMapping | Rejection:
    """Return the published mapping of an event."""
    if destination is None:
        detail = "The destination does not exist, or this key cannot access it."
        return _refuse(event, "destination_unknown", "destination_id", detail)
    if destination.stored.state is State.ARCHIVED:
        return _refuse(event, "destination_archived", "destination_id", "The destination was deleted.")
    if not destination.stored.signed_in:
        detail = "The destination is a draft: it was never connected to Amazon."
        return _refuse(event, "destination_draft", "destination_id", detail)
    if event.mapping_id is None:
        if len(destination.published) == 1:
            return destination.published[0]
        if not destination.published:
            detail = "The destination has no published mapping."
            return _refuse(event, "mapping_not_published", "mapping_id", detail)
        detail = f"The destination has {len(destination.published)} published mappings; set mapping_id."
        return _refuse(event, "mapping_ambiguous", "mapping_id", detail)
    mapping = destination.mappings.get(MappingId(event.mapping_id))
    if mapping is None:
        detail = "The mapping does not exist in this destination."
        return _refuse(event, "mapping_unknown", "mapping_id", detail)
    if mapping.plan is None:
        return _refuse(event, "mapping_not_published", "mapping_id", "The mapping is a draft.")
    return mapping


def _refuse(event: Event, reason: str, field: str, detail: str) -> Rejection:
    return Rejection(reason, field, None, detail, event.event_id, journey=journey_ids(event.content))
