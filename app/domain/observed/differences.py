"""The fields that two mappings may fill with different values, and the values that two conversions send.

A shadow compares what a draft would send with what the published version sent. Only its counts remain.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import msgspec

from app.domain.conversion.members import FIELDS_OF_MEMBERS
from app.domain.conversion.results import Conversion
from app.domain.conversion.steps import MAX_PROBLEMS
from app.domain.event import EventProblem, Rejection
from app.domain.identity.keys import HASHED_FIELDS, MATCH_KEYS
from app.domain.mapping.diff import is_same
from app.domain.mapping.document import Mapping

NO_KEY: Final = "no_match_key"
KEYS: Final = {rule.field: rule.type.value for rule in MATCH_KEYS}
# Fields whose value depends on another field.
_BY_COUNTRY: Final = frozenset({"phone", "address", "state", "postal", "consent"})
REJECTING: Final = frozenset(
    {"event_type", "event_source", "country_code", "consent", "event_timestamp", "limited_data_use"}
    | {"value", "currency", "units_sold", "event_id"}
)
_BY_TYPE: Final = frozenset({"event_name", "value", "currency", "units_sold"})


def changed_fields(was: Mapping, becomes: Mapping) -> set[str]:
    """Return the fields that two mappings may fill with different values. Equal sources give equal values."""
    before, after = dict(was.sources), dict(becomes.sources)
    changed = {
        field_of(name)
        for name in before.keys() | after.keys()
        if name not in before
        or name not in after
        or not is_same(_DECIDING(before[name]), _DECIDING(after[name]))
    }
    if (was.consent and was.consent.mode) is not (becomes.consent and becomes.consent.mode):
        changed.add("consent")
    if "country_code" in changed:
        changed |= _BY_COUNTRY
    if "event_type" in changed:
        changed |= _BY_TYPE
    if was.event_name != becomes.event_name:
        changed.add("event_name")
    if "refuse" in {was.prehashed, becomes.prehashed} and was.prehashed != becomes.prehashed:
        changed |= HASHED_FIELDS
    if changed & KEYS.keys():
        changed.add(NO_KEY)
    return changed


def continued_fields(was: Mapping, becomes: Mapping) -> set[str]:
    """Return the fields of which the second mapping sends all that the first one sends, and perhaps more."""
    names = changed_fields(was, becomes) & was.by_field.keys() & becomes.by_field.keys()
    if names & {"country_code", "event_type"} or was.prehashed != becomes.prehashed:
        return set()  # they change how others are read
    return {name for name in names if becomes.by_field[name].continues(was.by_field[name])}


# What two sources that give the same value for each event have in common.
_DECIDING: Final = attrgetter("paths", "const", "default", "fallbacks", "pipe", "on_error")


def field_of(name: str) -> str:
    return "consent" if name.startswith("consent") else name


_FIELDS: Final = {key: name for name, key in KEYS.items()}
_DESCRIPTION: Final = {"name": "event_name", "conversionType": "event_type", "eventSource": "event_source"}


def sent_fields(conversion: Conversion) -> dict[str, Any]:
    """Return the values of the finished Amazon event by mapping field.

    The consent signal has the name `consent`, and a row of custom data `custom_data.<name>`. Nothing
    hides the result from logs: for real events, use only its names and comparisons.
    """
    event = msgspec.json.decode(conversion.body)
    description = event["eventDescription"]
    sent = {name: description[member] for member, name in _DESCRIPTION.items()}
    sent |= {name: event[member] for member, name in FIELDS_OF_MEMBERS.items() if member in event}
    sent |= {_FIELDS[key["type"]]: key["values"] for key in event["matchKeys"]}
    sent |= {f"custom_data.{row['name']}": row["value"] for row in event.get("customData", ())}
    signal = dict(event.get("consent", {}))
    if "geo" in signal:
        sent["ip_address"] = signal.pop("geo")
    if signal:
        sent["consent"] = signal
    return sent


def different_values(was: Conversion, becomes: Conversion) -> Iterator[tuple[str, Any, Any]]:
    """Yield each field that two conversions send with different values, with both; None if one lacks it."""
    before, after = sent_fields(was), sent_fields(becomes)
    for name in before.keys() | after.keys():
        if before.get(name) != after.get(name):
            yield name, before.get(name), after.get(name)


# Fields whose values are from Amazon's lists. They are recorded with the fields that a sampled event sent.
_LISTED: Final = ("event_type", "event_source")


def sent_facts(conversion: Conversion) -> tuple[str, ...]:
    """Return the names of the fields that were sent, with the value of those from Amazon's lists."""
    sent = sent_fields(conversion)
    return tuple(sorted(f"{name}={sent[name]}" if name in _LISTED else name for name in sent))


def refused_fields(rejection: Rejection) -> tuple[str, ...]:
    """Return the fields that reject an event, and `NO_KEY` if it has no match key.

    Return nothing if not all are known. After missing consent or too much work, the others were not read.
    """
    problems = (EventProblem(rejection.reason, None, rejection.mapping_field), *rejection.also)
    fields = {NO_KEY if each.reason == NO_KEY else each.mapping_field or "" for each in problems}
    is_complete = rejection.basis is None and len(problems) < MAX_PROBLEMS and "" not in fields
    return tuple(sorted(map(field_of, fields))) if is_complete else ()


# --- Shadows --------------------------------------------------------------------------------------

GAINED, LOST, CHANGED = range(3)


@dataclass(slots=True)
class ShadowCounts:
    """The results of a shadow. `fields` has the events that gain, lose and change each field.

    `events` = `same` + `different` + `newly_rejected` + `newly_accepted`; events that both reject are the
    same. `skipped` events were not converted, because the process was busy.
    """

    events: int = 0
    same: int = 0
    different: int = 0
    newly_rejected: int = 0
    newly_accepted: int = 0
    skipped: int = 0
    fields: dict[str, list[int]] = field(default_factory=dict)

    def add(self, published: Conversion | Rejection, draft: Conversion | Rejection) -> None:
        """Count one event."""
        self.events += 1
        match published, draft:
            case Conversion(), Conversion() if published.body != draft.body:
                self.different += 1
                for name, was, becomes in different_values(published, draft):
                    kind = GAINED if was is None else LOST if becomes is None else CHANGED
                    self.fields.setdefault(name, [0, 0, 0])[kind] += 1
            case Conversion(), Rejection():
                self.newly_rejected += 1
            case Rejection(), Conversion():
                self.newly_accepted += 1
            case _:
                self.same += 1
