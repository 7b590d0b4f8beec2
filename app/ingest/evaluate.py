"""Matched, converted and hashed: one event against its target. Pure but for the arguments it is given."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from app.domain.conversion.convert import Conversion, EventWarning, convert
from app.domain.destination import State
from app.domain.event import Event, Rejection, content_digest, derived_event_id, execution_id_of
from app.domain.ids import DestinationId, MappingId
from app.domain.ledger_keys import amazon_key, event_key
from app.ingest.destination_cache import CachedDestination, PublishedMapping


class Candidate(msgspec.Struct, frozen=True):
    """An event that the door would take. `keys` are its ledger keys: its own id, then a mapped Amazon id."""

    target: CachedDestination
    mapping: PublishedMapping
    conversion: Conversion
    content: bytes
    keys: tuple[bytes, ...]
    warnings: tuple[EventWarning, ...]
    execution_id: str | None = None  # of the journey run

    __repr__ = object.__repr__  # holds what a person's event became


Evaluated = Candidate | Rejection
Find = Callable[[DestinationId], CachedDestination | None]


def evaluate(event: Event, find: Find, *, pepper: bytes, now: datetime) -> Evaluated:
    """Match one event to its mapping and convert it, or say why not."""
    matched = match_mapping(event, find)
    if isinstance(matched, Rejection):
        return matched
    target, mapping = matched
    assert mapping.compiled is not None
    content = content_digest(event.content, pepper)
    event_id = event.event_id if event.event_id is not None else derived_event_id(content)
    conversion: Conversion | Rejection | None = None
    if mapping.fast_path is not None:
        conversion = mapping.fast_path(event, event_id, now)
    if conversion is None:
        conversion = convert(event, event_id, mapping.compiled, mapping.rules, now=now)
    if isinstance(conversion, Rejection):
        return conversion
    keys: tuple[bytes, ...] = (event_key(target.id, mapping.id, event_id),)
    if mapping.compiled.uses_event_id_field:
        # Two events may name one Amazon id; Amazon would count one of them and drop the other unseen.
        keys += (amazon_key(target.region, target.advertiser_id, conversion.amazon_event_id),)
    warnings = conversion.warnings
    if event.event_id is None:
        warnings = (EventWarning("event_id_derived", "event_id"), *warnings)
    return Candidate(target, mapping, conversion, content, keys, warnings, execution_id_of(event.content))


def match_mapping(event: Event, find: Find) -> tuple[CachedDestination, PublishedMapping] | Rejection:
    """Find the destination and the published mapping that an event is for."""
    target = find(DestinationId(event.destination_id))
    if target is None:
        return _refuse(
            event, "destination_unknown", "destination_id", "There is no such destination for this key."
        )
    if target.state is State.ARCHIVED:
        return _refuse(event, "destination_archived", "destination_id", "The destination was deleted.")
    if not target.signed_in:
        detail = "The destination is a draft: it was never connected to Amazon."
        return _refuse(event, "destination_draft", "destination_id", detail)
    if event.mapping_id is None:
        return _only_mapping(event, target)
    mapping = target.mappings.get(MappingId(event.mapping_id))
    if mapping is None:
        return _refuse(event, "mapping_unknown", "mapping_id", "The destination has no such mapping.")
    if mapping.compiled is None:
        return _refuse(event, "mapping_not_published", "mapping_id", "The mapping is a draft.")
    return target, mapping


def _only_mapping(
    event: Event, target: CachedDestination
) -> tuple[CachedDestination, PublishedMapping] | Rejection:
    match target.taking:
        case [mapping]:
            return target, mapping
        case ():
            return _refuse(
                event, "mapping_not_published", "mapping_id", "The destination has no published mapping."
            )
        case several:
            detail = f"The destination has {len(several)} published mappings; name mapping_id."
            return _refuse(event, "mapping_ambiguous", "mapping_id", detail)


def _refuse(event: Event, reason: str, field: str, detail: str) -> Rejection:
    return Rejection(reason=reason, field=field, mapping_field=None, detail=detail, event_id=event.event_id)
