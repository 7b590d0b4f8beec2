"""Faults of event ids: ids that cannot meet those of Amazon's tag, and ids that several events share.

Amazon counts one event of those with the same eventId, across event types and sources, also those of its tag.
"""

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

from app.domain.ids import MappingId
from app.domain.mapping.document import Mapping as CompiledMapping
from app.domain.observed.schema_sample import EVENT_ID, SampleGroup
from app.domain.quantity import quantity

_MIN_VALUES: Final = 10
_DISTINCT_SHARE: Final = 0.8  # of the values of an id; ids of sessions have fewer


class FindingKind(StrEnum):
    """A fault of the event ids of a mapping. Source: interface §16."""

    DERIVED = "event_id_derived"
    CONSTANT = "event_id_constant"
    PER_SESSION = "event_id_per_session"
    TWO_TYPES = "same_id_two_types"
    TWO_MAPPINGS = "same_id_two_mappings"


REMEDIES: Final[Mapping[FindingKind, str]] = {
    FindingKind.DERIVED: "If Amazon's tag sends the same events, map event_id to the id that the tag sends. "
    "Without a tag, nothing is wrong.",
    FindingKind.CONSTANT: "Map event_id to a value that differs for each event, such as the order number.",
    FindingKind.PER_SESSION: "Map event_id to the id of the event, not of the session, visitor or cart.",
    FindingKind.TWO_TYPES: "Put the event type into the id of both sides, as with a template such as "
    "{order.id}-purchase.",
    FindingKind.TWO_MAPPINGS: "Let one mapping send these events, or give each mapping its own ids.",
}


@dataclass(frozen=True, slots=True)
class DedupeFinding:
    """A fault of a mapping's event ids. `events` is the number of events that it concerns."""

    kind: FindingKind
    mapping_id: MappingId
    events: int
    path: str | None
    sentence: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Repetitions:
    """Events of a mapping that repeated the id of an earlier event, by the kinds of both."""

    mapping: MappingId
    event_type: str
    earlier_mapping: MappingId
    earlier_type: str
    events: int


def mapping_findings(
    mapping_id: MappingId, mapping: CompiledMapping, version: int, groups: Iterable[SampleGroup]
) -> list[DedupeFinding]:
    """Return the fault that a version of a mapping and the samples of its events show, if any."""
    source = mapping.by_field.get("event_id")
    groups = [group for group in groups if group.version == version and group.accepted]
    if source is not None and source.paths:
        groups = [group for group in groups if EVENT_ID in group.different]
    events = sum(times for group in groups for times in group.samples.values())
    distinct = sum(group.different.get(EVENT_ID, 0) for group in groups)
    path = source.paths[0] if source is not None and len(source.paths) == 1 else None
    if source is None:
        kind = FindingKind.DERIVED
        text = (
            "The event id is derived from the journey's id, so it never equals an id of Amazon's tag: an "
            "event that both send is counted twice."
        )
    elif not source.paths:
        kind, text = FindingKind.CONSTANT, "Every event has the same id: Amazon counts one."
    elif events < _MIN_VALUES or distinct >= _DISTINCT_SHARE * events:
        return []
    elif distinct <= 1:
        kind = FindingKind.CONSTANT
        text = f"All {events:,} events have the same {path or 'id'}: Amazon counts one."
    else:
        kind, values = FindingKind.PER_SESSION, f"values of {path}" if path else "ids"
        text = f"{events:,} events share {distinct:,} {values}: Amazon counts one event for each."
        events -= distinct
    return [DedupeFinding(kind, mapping_id, events, path, text, REMEDIES[kind])]


def repetition_findings(found: Iterable[Repetitions]) -> Iterator[DedupeFinding]:
    """Yield the faults that repeated ids show: one id under two event types, or under two mappings."""
    for each in found:
        if each.event_type != each.earlier_type:
            kind = FindingKind.TWO_TYPES
            text = (
                f"{quantity(each.events, 'event')} of type {each.event_type} had the id of an earlier event "
                f"of type {each.earlier_type}. Amazon counts the first only."
            )
        elif each.mapping != each.earlier_mapping:
            kind = FindingKind.TWO_MAPPINGS
            text = (
                f"{quantity(each.events, 'event')} had the id of an event that another mapping sent before."
            )
        else:
            continue
        yield DedupeFinding(kind, each.mapping, each.events, None, text, REMEDIES[kind])


# --- Comparison with the ids of the tag -----------------------------------------------------------


class IdDifference(StrEnum):
    """Why an id of the tag does not equal an id of this service that is meant to be the same."""

    WHITESPACE = "whitespace"
    CASE = "case"
    TYPE_SUFFIX = "type_suffix"
    PREFIX = "prefix"


_SEPARATOR: Final = re.compile(r"[-_:.|/#]")
_WORD: Final = re.compile(r"[A-Za-z]")
_MOST_PARTS: Final = 8  # first and last ones of an id: the texts around hundreds would take much memory


def differences(there: Collection[str], here: Collection[str]) -> dict[IdDifference, int]:
    """Return how many ids of the tag equal an id of this service but for one difference.

    `there` and `here` have no member in common.
    """
    own = set(here)
    bare, lower = {_bare(each) for each in own}, {each.lower() for each in own}
    heads = {head for each in own for head in _heads(each)}
    tails = {tail for each in own for tail in _tails(each)}
    found: dict[IdDifference, int] = {}
    for each in set(there):
        if _bare(each) in bare:
            reason = IdDifference.WHITESPACE
        elif each.lower() in lower:
            reason = IdDifference.CASE
        elif each in heads or not own.isdisjoint(_heads(each)):
            reason = IdDifference.TYPE_SUFFIX
        elif each in tails or not own.isdisjoint(_tails(each)):
            reason = IdDifference.PREFIX
        else:
            continue
        found[reason] = found.get(reason, 0) + 1
    return found


def _bare(text: str) -> str:
    return "".join(text.split())


def _heads(text: str) -> Iterator[str]:
    """Yield what precedes a suffix that holds a word: `42` of `42_Purchase`."""
    for separator in deque(_SEPARATOR.finditer(text), maxlen=_MOST_PARTS):
        if separator.start() and _WORD.search(text, separator.end()):
            yield text[: separator.start()]


def _tails(text: str) -> Iterator[str]:
    """Yield what follows a prefix that holds a word or is a derived one: `42` of `web-42`."""
    for separator in islice(_SEPARATOR.finditer(text), _MOST_PARTS):
        prefix, rest = text[: separator.start()], text[separator.end() :]
        if rest and (_WORD.search(prefix) or len(prefix) == _DERIVED_PREFIX):
            yield rest


_DERIVED_PREFIX: Final = 16  # hexadecimal digits before the colon of a derived id
