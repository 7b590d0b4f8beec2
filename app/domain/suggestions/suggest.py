"""Suggest a complete mapping from events: the source of each field, why, and for how many events it works.

Samples of events have paths and kinds of values, but no values: these are invented.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from typing import Any, Final

from app.domain.conversion.amazon_codes import PURCHASE, read_country
from app.domain.identity.keys import MATCH_KEYS, Profile
from app.domain.mapping.document import ACTION, compile_parts
from app.domain.mapping.presets import EVENT_NAMES
from app.domain.observed.schema_sample import Fingerprint, SchemaSample
from app.domain.observed.synthetic_event import synthetic_event
from app.domain.suggestions.consents import find_consent, find_limited_data_use
from app.domain.suggestions.event_kinds import find_event_source, find_event_type, spellings
from app.domain.suggestions.names import rank
from app.domain.suggestions.observations import FieldFinding, ObservedPaths, observe, text_of
from app.domain.suggestions.order_value import find_currency, find_value, is_order
from app.domain.suggestions.people import PERSONAL_FIELDS, find_country, find_person
from app.domain.suggestions.products import Products, find_custom_data, find_products, find_units
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
    if not events:
        return Suggestion({})
    found = observe(events)
    if products := find_products(found):
        found = found.without_named_members(products.source)
    trial = Trial(tuple(events), ("",) * len(events), settings.profile, invented=times is not None)
    country = find_country(found, trial)
    if country.source:
        codes = [
            read_country(value) if type(value) is str else None for value in trial.values(country.source)
        ]
        trial = dataclasses.replace(trial, countries=tuple(code or "" for code in codes))
    kind, event_type = find_event_type(found, is_order=is_order(found, products))
    trial = dataclasses.replace(trial, event_type=event_type)
    event_name = FieldFinding(EVENT_NAMES[event_type], "The usual name of events of this type.")
    if pinned := settings.pins.get(event_type):
        event_name = FieldFinding(pinned, "The name that the advertiser's events of this type have.")
    described = {
        "event_type": kind,
        "event_source": find_event_source(found),
        "event_name": event_name,
        "country_code": country,
    }
    fields = {name: finding for name, finding in _fields(found, products, trial, settings) if finding}
    custom_data = find_custom_data(found, products, trial)
    consent = find_consent(found, trial)
    mapping = {"name": event_name.source, "action": ACTION, **_sources(described), "fields": _sources(fields)}
    if custom_data:
        mapping["custom_data"] = [{"name": name, **source} for name, source in custom_data.items()]
    mapping["consent"] = consent.source
    findings = described | fields
    for name, source in custom_data.items():
        findings[f"custom_data.{name}"] = FieldFinding(source, "A usual attribute of products or orders.")
    for name, source in consent.source.items():
        if name != "mode":
            findings[f"consent.{name}"] = FieldFinding(source, consent.reason)
    findings["consent"] = FieldFinding(None, undecided=consent.undecided)
    rows = [
        SuggestedRow(name, each.source, each.reason, _share(trial, name, each.source, times))
        for name, each in findings.items()
        if each.source is not None
    ]
    undecided = [Undecided(name, word) for name, each in findings.items() for word in each.undecided]
    return Suggestion(mapping, tuple(rows), tuple(undecided))


def _fields(
    found: ObservedPaths, products: Products | None, trial: Trial, settings: SuggestionSettings
) -> Iterator[tuple[str, FieldFinding | None]]:
    """Yield what was found for each field, and for `fields` if no match key was."""
    yield "event_timestamp", find_time(found, trial, settings.zone, settings.now)
    personal = {name: find_person(name, found, trial) for name in PERSONAL_FIELDS}
    yield from personal.items()
    if not any(personal.get(rule.field) for rule in MATCH_KEYS):
        yield "fields", FieldFinding(None, undecided=("no_match_key",))
    value, amount = find_value(found, products, trial)
    if trial.event_type == PURCHASE:
        yield "value", value or FieldFinding(None, undecided=("not_found",))
        yield "currency", find_currency(found, amount, trial)
        yield "units_sold", find_units(found, products, trial)
    else:
        yield "value", value
    yield "event_id", _find_event_id(found, trial)
    yield "limited_data_use", find_limited_data_use(found)


def _find_event_id(found: ObservedPaths, trial: Trial) -> FieldFinding | None:
    """Return a path whose values differ in all events, so that no event takes another's id."""
    if trial.invented:
        return None
    for each in sorted(found.values, key=lambda each: -rank("event_id", each.names)):
        is_named = rank("event_id", each.names) > 45 and not each.in_list
        texts = [text_of(value) for value in each.values]
        differ = None not in texts and len(set(texts)) == len(texts)
        if is_named and differ and all(trial.usable("event_id", each.source)):
            return FieldFinding(each.source, f"Named {each.label}; its values differ in all events.")
    return None


def _sources(findings: Mapping[str, FieldFinding]) -> dict[str, Any]:
    return {name: each.source for name, each in findings.items() if each.source is not None}


def _share(trial: Trial, name: str, source: Any, times: Sequence[int] | None) -> float:
    """Return the share of the events for which a source has a usable value."""
    if not isinstance(source, dict):
        return 1.0
    usable = trial.usable(name, source)
    counts = times or (1,) * len(usable)
    return round(sum(compress(counts, usable)) / sum(counts), 4)


# --- Samples of events -----------------------------------------------------------------------------


def suggest_from_samples(
    samples: Sequence[tuple[SchemaSample, int]], settings: SuggestionSettings, fingerprint: Fingerprint
) -> Suggestion:
    """Suggest a mapping from samples, each with its number of events.

    `fingerprint` is that of the samples, with which the usual names of events are found in them.
    """
    common = sorted(samples, key=lambda counted: -counted[1])[:MAX_SAMPLES]
    names: dict[Any, str] = {fingerprint(text): text for text in spellings()} if common else {}
    events = []
    for sample, _ in common:  # with invented values, but for the names of events
        named = tuple(entry._replace(word=names.get(entry.word, entry.word)) for entry in sample)
        events.append(synthetic_event(named, settings.now))
    return suggest(events, settings, [number for _, number in common])


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
