"""The catalogue: which paths recent events had, of which types, how often filled; and what they could feed.

Learned from outlines, so it knows no value. Suggestions go by name and kind: a path is suggested for a field
when its words are words for that field and what stands there is of a kind that the field can use.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.domain.mapping.fields import FIELDS
from app.domain.mapping.paths import last_name, parse_path
from app.domain.observed.schema_sample import TYPES, SchemaSample, ValueKind

MOST_SUGGESTED: Final = 3
_EMPTY: Final = frozenset({ValueKind.NULL, ValueKind.BLANK, ValueKind.OBJECT, ValueKind.LIST})


@dataclass(frozen=True, slots=True)
class SchemaEntry:
    """One path: in how many events it was there, in how many it held something, and which kinds."""

    path: str
    present: int
    filled: int
    kinds: Mapping[ValueKind, int]

    @property
    def types(self) -> dict[str, int]:
        """Return how many events had each JSON type there."""
        found: Counter[str] = Counter()
        for kind, times in self.kinds.items():
            found[TYPES[kind]] += times
        return dict(found.most_common())


@dataclass(frozen=True, slots=True)
class EventSchema:
    """What `events` recent events had, by path, in alphabetical order."""

    events: int
    entries: Mapping[str, SchemaEntry]


def merge_samples(seen: Iterable[tuple[SchemaSample, int]]) -> EventSchema:
    """Add up outlines."""
    events = 0
    kinds: dict[str, Counter[ValueKind]] = {}
    for shape, times in seen:
        events += times
        for path, kind in shape:
            kinds.setdefault(path, Counter())[kind] += times
    entries = {
        path: SchemaEntry(
            path, found.total(), sum(n for kind, n in found.items() if kind not in _EMPTY), found
        )
        for path, found in sorted(kinds.items())
    }
    return EventSchema(events, entries)


# --- Suggestions ----------------------------------------------------------------------------------

_TEXTS: Final = frozenset(
    {ValueKind.TEXT, ValueKind.FOREIGN_TEXT, ValueKind.HASH, ValueKind.COUNTRY, ValueKind.CONSENT_COUNTRY}
)
_NUMBERS: Final = frozenset({ValueKind.INTEGER, ValueKind.DECIMAL, ValueKind.ZERO, ValueKind.NEGATIVE})
_IDS: Final = frozenset(
    {
        ValueKind.TEXT,
        ValueKind.UUID,
        ValueKind.DIGITS,
        ValueKind.NUMBER_TEXT,
        ValueKind.HASH,
        ValueKind.LONG_TEXT,
    }
)
_COUNTRIES: Final = frozenset({ValueKind.COUNTRY, ValueKind.CONSENT_COUNTRY})

# The words people use for a field, without case or separators, best first; and the kinds it can use.
_WORDS: Final[Mapping[str, tuple[str, Collection[ValueKind]]]] = {
    "event_timestamp": (
        "timestamp eventtimestamp eventtime occurredat time senttime sentat createdat happenedat date",
        {ValueKind.TIME, ValueKind.EPOCH_SECONDS, ValueKind.EPOCH_MILLISECONDS},
    ),
    "email": ("email emailaddress mail useremail hashedemail emailsha256", {ValueKind.EMAIL, ValueKind.HASH}),
    "phone": (
        "phone phonenumber mobile mobilephone tel telephone cell msisdn phonesha256",
        {ValueKind.PHONE, ValueKind.NATIONAL_PHONE, ValueKind.DIGITS, ValueKind.HASH},
    ),
    "first_name": ("firstname givenname forename fname", _TEXTS),
    "last_name": ("lastname familyname surname lname", _TEXTS),
    "address": ("address street streetaddress address1 addressline1", _TEXTS),
    "city": ("city town locality", _TEXTS),
    "state": ("state province region statecode", _TEXTS),
    "postal": (
        "postal postalcode postcode zip zipcode plz",
        _TEXTS | {ValueKind.NUMBER_TEXT, ValueKind.DIGITS},
    ),
    "maid": ("maid idfa adid gaid aaid advertisingid deviceadvertisingid", {ValueKind.UUID}),
    "ramp_id": ("rampid", _IDS),
    "match_id": ("matchid customerid externalid userid", _IDS),
    "real_id": ("realid", _IDS),
    "merkle_id": ("merkleid", _IDS),
    "kantar_id": ("kantarid", _IDS),
    "value": ("value total revenue amount ordertotal price subtotal", _NUMBERS),
    "currency": ("currency currencycode", {ValueKind.CURRENCY}),
    "units_sold": ("unitssold quantity qty units itemcount", {ValueKind.INTEGER}),
    "event_id": ("dedupeid deduplicationid orderid transactionid eventid messageid", _IDS),
    "ip_address": ("ipaddress ip clientip remoteip", {ValueKind.IP_ADDRESS}),
    "user_agent": ("useragent ua browser", {ValueKind.TEXT, ValueKind.LONG_TEXT}),
    "limited_data_use": ("limiteddatause ldu donotsell optoutofsale", {ValueKind.BOOLEAN}),
    "amazon_ad_event_key": ("amazonadeventkey adeventkey", _IDS),
    "country_code": ("countrycode country shippingcountry locale language", _COUNTRIES),
    "event_type": ("conversiontype eventtype", {ValueKind.EVENT_TYPE}),
    "event_source": ("eventsource source platform", {ValueKind.EVENT_SOURCE}),
    "consent.user_data": ("amznuserdata userdata consentuserdata", {ValueKind.GRANTED, ValueKind.DENIED}),
    "consent.ad_storage": ("amznadstorage adstorage consentadstorage", {ValueKind.GRANTED, ValueKind.DENIED}),
    "consent.tcf": ("tcf tcstring iabtcf consentstring", {ValueKind.TCF}),
    "consent.gpp": ("gpp gppstring iabgpp", {ValueKind.GPP}),
}
_SEPARATOR: Final = re.compile(r"[^a-z0-9]")


def suggest(catalogue: EventSchema) -> dict[str, list[str]]:
    """Return the paths that each field could be mapped to, the likeliest first, at most three."""
    return {name: found for name in _WORDS if (found := _suggested(name, catalogue))}


def _suggested(name: str, catalogue: EventSchema) -> list[str]:
    words, kinds = _WORDS[name]
    order = {word: place for place, word in enumerate(words.split())}
    fitting = [
        (order[word], -entry.filled, entry.path)
        for entry in catalogue.entries.values()
        if (word := _word(entry.path)) in order and any(kind in kinds for kind in entry.kinds)
    ]
    return [path for _, _, path in sorted(fitting)[:MOST_SUGGESTED]]


def _word(path: str) -> str:
    return _SEPARATOR.sub("", last_name(parse_path(path) or ()).lower())


# --- Drafts against the catalogue -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SchemaMismatch:
    """Something about a draft that recent events speak against; `field` is its place in the document."""

    code: str
    field: str
    path: str


# What a field needs to make something of, where the catalogue can tell.
_TAKES: Final[Mapping[str, Collection[str]]] = {
    "text": ("text",),
    "time": ("text",),
    "number": ("number",),
    "integer": ("number",),
    "boolean": ("boolean",),
}


def schema_mismatches(document: Mapping[str, Any], catalogue: EventSchema) -> list[SchemaMismatch]:
    """Return each path of a draft that no recent event had, or that held another type than the field takes.

    With no event seen there is nothing to doubt. A pipe may make one type of another: then types are not
    judged.
    """
    if not catalogue.events:
        return []
    found = []
    for at, name, path, piped in _paths(document):
        entry = catalogue.entries.get(path)
        if entry is None:
            if not _within(path, catalogue):
                found.append(SchemaMismatch("path_unknown", at, path))
        elif entry.filled and not piped and not _usable(name, entry):
            found.append(SchemaMismatch("path_type_unusual", at, path))
    return found


def _usable(name: str, entry: SchemaEntry) -> bool:
    row = FIELDS.get(name)
    return row is None or bool(set(entry.types) & set(_TAKES[row.takes]))


def _within(path: str, catalogue: EventSchema) -> bool:
    """Return whether a path leads past what outlines hold: deep in a list, or below what was left out."""
    steps = parse_path(path) or ()
    if any(isinstance(step, int) and step > 0 for step in steps):
        return True
    return any(
        path.startswith(known) and {ValueKind.OBJECT, ValueKind.LIST} & set(entry.kinds)
        for known, entry in catalogue.entries.items()
    )


def _paths(document: Mapping[str, Any]) -> Iterable[tuple[str, str, str, bool]]:
    """Yield (place, field, path, whether piped) of every source that reads the event."""
    for name in ("event_type", "event_source", "country_code"):
        yield from _of(name, name, document.get(name), bare_is_path=False)
    fields = document.get("fields")
    if isinstance(fields, Mapping):
        for name, source in fields.items():
            yield from _of(f"fields.{name}", name, source)
    rows = document.get("custom_data")
    if isinstance(rows, list):
        for place, row in enumerate(rows):
            yield from _of(f"custom_data[{place}]", "", row)
    consent = document.get("consent")
    if isinstance(consent, Mapping):
        for name in ("user_data", "ad_storage", "string"):
            yield from _of(f"consent.{name}", "", consent.get(name))


def _of(
    at: str, name: str, source: Any, *, bare_is_path: bool = True
) -> Iterable[tuple[str, str, str, bool]]:
    if isinstance(source, str) and bare_is_path:
        yield at, name, source, False
    elif isinstance(source, Mapping) and isinstance(source.get("path"), str):
        yield at, name, source["path"], bool(source.get("pipe"))
