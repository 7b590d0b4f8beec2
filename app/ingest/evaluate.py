"""Evaluate an event: match it to a published mapping and convert it. Pure."""

from datetime import datetime

import msgspec

from app.domain.conversion.convert import ID_DERIVED, Conversion, EventWarning, Work
from app.domain.destination import State
from app.domain.event import (
    NO_JOURNEY,
    Event,
    JourneyIds,
    Rejection,
    amazon_key,
    content_digest,
    derived_event_id,
    event_key,
    journey_ids,
)
from app.domain.ids import DestinationNumber, MappingId
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
_TOO_MUCH_WORK = "Converting the events before it took all the work that a request may cost."


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
    assert mapping.compiled is not None
    assert mapping.plan is not None
    content = content_digest(event.content, pepper)
    event_id = event.event_id if event.event_id is not None else derived_event_id(content)
    conversion: Conversion | Rejection
    if work.left > 0:
        conversion = mapping.plan.convert(event, event_id, now, work=work)
    else:
        conversion = Rejection("too_much_work", None, None, _TOO_MUCH_WORK, event_id)
    if isinstance(conversion, Rejection):
        return msgspec.structs.replace(conversion, mapping=mapping.number, journey=journey_ids(event.content))
    keys: tuple[bytes, ...] = (event_key(destination.id, mapping.id, event_id),)
    is_plain = conversion.event_type in destination.pins
    if "event_id" in mapping.compiled.by_field:
        # If two events have the same Amazon eventId, Amazon counts only one event and reports no error.
        owner = (destination.organisation, destination.region, destination.advertiser_id)
        keys += (amazon_key(*owner, conversion.amazon_event_id),)
        is_plain = False
    warnings = conversion.warnings
    if event.event_id is None:
        warnings = (ID_DERIVED, *warnings)
    journey = journey_ids(event.content)
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
    if destination.state is State.ARCHIVED:
        return _refuse(event, "destination_archived", "destination_id", "The destination was deleted.")
    if not destination.signed_in:
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
    if mapping.compiled is None:
        return _refuse(event, "mapping_not_published", "mapping_id", "The mapping is a draft.")
    return mapping


def _refuse(event: Event, reason: str, field: str, detail: str) -> Rejection:
    return Rejection(
        reason=reason,
        field=field,
        mapping_field=None,
        detail=detail,
        event_id=event.event_id,
        journey=journey_ids(event.content),
    )
