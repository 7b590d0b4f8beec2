"""Suggest a complete mapping from events: the source of each field, why, and for how many events it works.

Samples of events have paths and kinds of values, but no values: these are invented.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.domain.conversion.amazon_codes import PURCHASE, read_country
from app.domain.identity.keys import MATCH_KEYS, Profile
from app.domain.mapping.document import ACTION, compile_parts
from app.domain.mapping.presets import EVENT_NAMES
from app.domain.observed.schema_sample import Fingerprint, SchemaSample
from app.domain.observed.synthetic_event import synthetic_event
from app.domain.suggestions.consents import find_consent, find_limited_data_use
from app.domain.suggestions.event_kinds import EVENT_NAMES as KNOWN_NAMES
from app.domain.suggestions.event_kinds import find_event_source, find_event_type, spellings
from app.domain.suggestions.names import rank
from app.domain.suggestions.observations import FieldFinding, ObservedPaths, observe
from app.domain.suggestions.order_value import find_currency, find_value, is_order
from app.domain.suggestions.people import PERSONAL_FIELDS, find_country, find_person, text_of
from app.domain.suggestions.products import find_custom_data, find_products, find_units
from app.domain.suggestions.times import find_time
from app.domain.suggestions.trial import Trial

MAX_EVENTS: Final = 200
MAX_SAMPLES: Final = 50  # of different events, the most frequent ones


@dataclass(frozen=True, slots=True)
class SuggestedRow:
    """The suggested source of one field, such as `email` or `custom_data.brand`, and why it was chosen.

    `share` is the share of the events for which the source has a usable value.
    """

    field: str
    source: Any = dataclasses.field(repr=False)
    reason: str
    share: float


@dataclass(frozen=True, slots=True)
class Undecided:
    """What a person has to decide or confirm. `reason` is a word, such as `zone_needed`."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A mapping document that can be saved as it is, with what is known about each of its fields."""

    mapping: Mapping[str, Any] = dataclasses.field(repr=False)
    rows: tuple[SuggestedRow, ...] = ()
    undecided: tuple[Undecided, ...] = ()


@dataclass(frozen=True, slots=True)
class SuggestionSettings:
    """What a suggestion depends on beside the events.

    `zone` is that of times that name none. `pins` are the advertiser's event names by type.
    """

    zone: str | None
    profile: Profile
    pins: Mapping[str, str]
    now: datetime


def suggest(
    events: Sequence[dict[str, Any]], settings: SuggestionSettings, times: Sequence[int] | None = None
) -> Suggestion:
    """Suggest a mapping from up to `MAX_EVENTS` events.

    With `times`, the events have invented values, and each stands for as many real events.
    """
    return _Suggesting(events, settings, times).suggestion() if events else Suggestion({})


class _Suggesting:
    """Collects the document, the rows and what is undecided, field by field."""

    def __init__(
        self, events: Sequence[dict[str, Any]], settings: SuggestionSettings, times: Sequence[int] | None
    ) -> None:
        self.settings, self.times = settings, times
        self.found: ObservedPaths = observe(events)
        self.rows: list[SuggestedRow] = []
        self.undecided: list[Undecided] = []
        self.document: dict[str, Any] = {}
        is_invented = times is not None
        self.trial = Trial(tuple(events), ("",) * len(events), settings.profile, invented=is_invented)
        self.products = find_products(self.found)
        if self.products:
            self.found = self.found.without_named_members(self.products.source)

    def suggestion(self) -> Suggestion:
        country = find_country(self.found, self.trial)
        if country.source:
            codes = tuple(_code(value) for value in self.trial.values(country.source))
            self.trial = dataclasses.replace(self.trial, countries=codes)
        kind, event_type = find_event_type(self.found, is_order=is_order(self.found, self.products))
        self.trial = dataclasses.replace(self.trial, event_type=event_type)
        event_name = FieldFinding(EVENT_NAMES[event_type], "The usual name of events of this type.")
        if pinned := self.settings.pins.get(event_type):
            event_name = FieldFinding(pinned, "The name that the advertiser's events of this type have.")
        self.document |= {"name": event_name.source, "action": ACTION}
        self._state("event_type", kind)
        self._state("event_source", find_event_source(self.found))
        self._state("event_name", event_name)
        self._state("country_code", country)
        self.document["fields"] = {}
        self._find_fields(event_type)
        rows = find_custom_data(self.found, self.products, self.trial)
        if rows:
            self.document["custom_data"] = [{"name": name, **source} for name, source in rows.items()]
        for name, source in rows.items():
            self._add_row(f"custom_data.{name}", source, "A usual attribute of products or orders.")
        consent = find_consent(self.found)
        self.document["consent"] = consent.source
        for name, source in consent.source.items():
            if name != "mode":
                self._add_row(f"consent.{name}", source, consent.reason)
        self.undecided += [Undecided("consent", word) for word in consent.undecided]
        return Suggestion(self.document, tuple(self.rows), tuple(self.undecided))

    def _state(self, name: str, finding: FieldFinding | None, into: dict[str, Any] | None = None) -> None:
        """Write what was found into the document, or into another object, and add its row."""
        if finding is None:
            return
        if finding.source is not None:
            (self.document if into is None else into)[name] = finding.source
            self._add_row(name, finding.source, finding.reason)
        self.undecided += [Undecided(name, word) for word in finding.undecided]

    def _add_row(self, name: str, source: Any, reason: str) -> None:
        share = 1.0
        if isinstance(source, dict):
            usable = self.trial.usable(name, source)
            times = self.times or (1,) * len(usable)
            worked = sum(each for each, works in zip(times, usable, strict=True) if works)
            share = round(worked / sum(times), 4)
        self.rows.append(SuggestedRow(name, source, reason, share))

    def _find_fields(self, event_type: str) -> None:
        fields = self.document["fields"]
        time = find_time(self.found, self.trial, self.settings.zone, self.settings.now)
        self._state("event_timestamp", time, fields)
        for name in PERSONAL_FIELDS:
            self._state(name, find_person(name, self.found, self.trial), fields)
        if not any(rule.field in fields for rule in MATCH_KEYS):
            self.undecided.append(Undecided("fields", "no_match_key"))
        value, amount = find_value(self.found, self.products, self.trial)
        self._state("value", value, fields)
        if event_type == PURCHASE:
            if value is None:
                self.undecided.append(Undecided("value", "not_found"))
            self._state("currency", find_currency(self.found, amount, self.trial), fields)
            self._state("units_sold", find_units(self.found, self.products, self.trial), fields)
        self._state("event_id", self._event_id(), fields)
        self._state("limited_data_use", find_limited_data_use(self.found), fields)

    def _event_id(self) -> FieldFinding | None:
        """Return a path whose values differ in all events, so that no event takes another's id."""
        if self.times:
            return None  # invented values are not counted
        for each in sorted(self.found.values, key=lambda each: -rank("event_id", each.names)):
            is_named = rank("event_id", each.names) > 45 and not each.in_list
            texts = [text_of(value) for value in each.values]
            differ = None not in texts and len(set(texts)) == len(texts)
            if is_named and differ and all(self.trial.usable("event_id", each.source)):
                return FieldFinding(each.source, f"Named {each.label}; its values differ in all events.")
        return None


def _code(value: Any) -> str:
    return (read_country(value) if type(value) is str else None) or ""


# --- Samples of events -----------------------------------------------------------------------------


def suggest_from_samples(
    samples: Sequence[tuple[SchemaSample, int]], settings: SuggestionSettings, fingerprint: Fingerprint
) -> Suggestion:
    """Suggest a mapping from samples, each with its number of events.

    `fingerprint` is that of the samples, with which the usual names of events are found in them.
    """
    common = sorted(samples, key=lambda counted: -counted[1])[:MAX_SAMPLES]
    names = {fingerprint(text): text for name in KNOWN_NAMES for text in spellings(name)} if common else {}
    events = [_event(sample, names, settings.now) for sample, _ in common]
    return suggest(events, settings, [number for _, number in common])


def _event(sample: SchemaSample, names: Mapping[Any, str], now: datetime) -> dict[str, Any]:
    """Return an event with invented values, but for the names of events."""
    named = tuple(entry._replace(word=names.get(entry.word, entry.word)) for entry in sample)
    return synthetic_event(named, now)


def paths_by_field(suggestion: Suggestion) -> dict[str, list[str]]:
    """Return the paths that the suggested source of each field reads, the first one first."""
    return _grouped(compile_parts(suggestion.mapping).paths)


def fields_by_path(suggestion: Suggestion) -> dict[str, list[str]]:
    """Return the fields whose suggested source reads each path."""
    return _grouped((path, field) for field, path in compile_parts(suggestion.mapping).paths)


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found
