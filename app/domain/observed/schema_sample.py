"""Samples of events: the paths of an event, and the kind of value at each path, without its text.

After a request, the service keeps only samples of its events. The samples show the event schema, and mapping
drafts are tested on them. A kind is a format such as "time" or "email", which is no personal data. The
members of closed lists, such as a currency, are recorded as they are. Of other short texts only a
fingerprint is recorded. A member is left out with everything in it if its name could be a value, such as an
address or a number. See ADR 0016.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from app.domain.compression import compress, expand
from app.domain.conversion import tcf
from app.domain.conversion.consent import CONSENT_WORDS, GPP
from app.domain.conversion.countries import CONSENT_COUNTRIES, read_country
from app.domain.conversion.currencies import CURRENCIES
from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES
from app.domain.conversion.numbers import as_integer, is_number, number_text, read_number
from app.domain.conversion.timestamps import read_time
from app.domain.identity.placeholders import is_placeholder
from app.domain.mapping.paths import IMPASSABLE, getter, parse_path
from app.domain.observed.fingerprints import Fingerprints

MAX_PATHS: Final = 200
MAX_DEPTH: Final = 8
MAX_MEMBERS: Final = 64  # keys of a larger object are probably values
MAX_ITEMS: Final = 3
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)
_LONG_NUMBER: Final = re.compile(r"[0-9]{5}", re.ASCII)
_ROUTING_IDS: Final = frozenset({"destination_id", "mapping_id"})


class ValueKind(StrEnum):
    """The kind of value at a path. The names are stored, so they must never change."""

    NULL = "null"
    BOOLEAN = "boolean"
    ZERO = "zero"
    NEGATIVE = "negative"
    INTEGER = "integer"
    DECIMAL = "decimal"
    EPOCH_SECONDS = "epoch_seconds"
    EPOCH_MILLISECONDS = "epoch_milliseconds"
    OBJECT = "object"
    LIST = "list"
    BLANK = "blank"
    TEXT = "text"
    LONG_TEXT = "long_text"
    ENDLESS_TEXT = "endless_text"
    FOREIGN_TEXT = "foreign_text"
    EMAIL = "email"
    HASH = "hash"
    UUID = "uuid"
    TIME = "time"
    DATE = "date"
    PHONE = "phone"
    NATIONAL_PHONE = "national_phone"
    DIGITS = "digits"
    NUMBER_TEXT = "number_text"
    EVENT_TYPE = "event_type"
    EVENT_SOURCE = "event_source"
    CURRENCY = "currency"
    COUNTRY = "country"
    CONSENT_COUNTRY = "consent_country"
    GRANTED = "granted"
    DENIED = "denied"
    TCF = "tcf"
    GPP = "gpp"
    IP_ADDRESS = "ip_address"
    UNUSABLE_TRAIT = "unusable_trait"  # gives no hashed match key, such as an impossible phone number
    UNUSABLE_ID = "unusable_id"  # gives no unhashed match key


TYPES: Final[Mapping[ValueKind, str]] = {
    **dict.fromkeys(ValueKind, "text"),
    **dict.fromkeys(
        (
            ValueKind.ZERO,
            ValueKind.NEGATIVE,
            ValueKind.INTEGER,
            ValueKind.DECIMAL,
            ValueKind.EPOCH_SECONDS,
            ValueKind.EPOCH_MILLISECONDS,
        ),
        "number",
    ),
    ValueKind.NULL: "null",
    ValueKind.BOOLEAN: "boolean",
    ValueKind.OBJECT: "object",
    ValueKind.LIST: "list",
}
"""The JSON type of each kind."""


class SampleEntry(NamedTuple):
    """A path and the kind of its value.

    `word` is the value itself if it is a member of a closed list, a fingerprint for another short text or
    number, else None.
    """

    path: str
    kind: ValueKind
    word: str | bytes | None = None


SchemaSample = tuple[SampleEntry, ...]
Fingerprint = Callable[[str], bytes]
NO_UNUSABLE: Final[Mapping[str, ValueKind]] = MappingProxyType({})


def take_sample(
    content: dict[str, Any],
    mapped: Iterable[str] = (),
    unusable: Mapping[str, ValueKind] = NO_UNUSABLE,
    *,
    fingerprint: Fingerprint | None = None,
    note_value: Callable[[str, str], None] | None = None,
) -> SchemaSample:
    """Return the sample of an event, in time linear in the event's size.

    The sample has at most 200 paths, and in addition the paths of `mapped`, whatever their names are.
    `unusable` has the paths whose values gave no match key, each with the kind to record for it. `note_value`
    gets the path and the text of each text and number.
    """
    found: dict[str, Any] = {}
    _walk(content, "", 0, found)
    for path in mapped:
        if path not in found:
            steps = parse_path(path)
            value = None if steps is None else getter(steps)(content)
            if value is not None and value is not IMPASSABLE:
                found[path] = value
    entries = []
    for path, value in found.items():
        kind = kind_of(value)
        text = value if type(value) is str else number_text(value) if is_number(value) else None
        if text is not None and note_value is not None:
            note_value(path, text)
        entries.append(SampleEntry(path, unusable.get(path, kind), _word(value, text, kind, fingerprint)))
    return tuple(entries)


MAX_FINGERPRINTED: Final = 40  # characters
_DIGITS: Final = re.compile(r"(?:[^0-9]*[0-9]){8}")  # as many as a phone number has
_LISTED: Final = frozenset(
    {
        ValueKind.EVENT_TYPE,
        ValueKind.EVENT_SOURCE,
        ValueKind.CURRENCY,
        ValueKind.COUNTRY,
        ValueKind.CONSENT_COUNTRY,
        ValueKind.GRANTED,
        ValueKind.DENIED,
    }
)


def _word(
    value: Any, text: str | None, kind: ValueKind, fingerprint: Fingerprint | None
) -> str | bytes | None:
    if text is None:
        return None if kind is not ValueKind.BOOLEAN else "true" if value else "false"
    if kind in _LISTED and (text.isupper() or text.islower() or text.isdecimal()):
        return text
    if fingerprint is None or len(text) > MAX_FINGERPRINTED or "@" in text or _DIGITS.match(text):
        return None
    return fingerprint(text)


def may_be_unsampled(path: str, sample: SchemaSample) -> bool:
    """Return whether an event may have this path although its sample does not."""
    steps = parse_path(path) or ()
    if len(sample) >= MAX_PATHS or len(steps) > MAX_DEPTH:
        return True
    for step in steps:
        if (
            not 0 <= step < MAX_ITEMS
            if isinstance(step, int)
            else not isinstance(step, str) or not _is_plain(step)
        ):
            return True
    # The members of an object or list that is itself in the sample were left out.
    return any(entry.kind in _CONTAINERS and path.startswith(entry.path) for entry in sample)


def _is_plain(name: str) -> bool:
    return _PLAIN_NAME.fullmatch(name) is not None and not _LONG_NUMBER.search(name)


_CONTAINERS: Final = frozenset({ValueKind.OBJECT, ValueKind.LIST})


def _walk(value: Any, path: str, depth: int, found: dict[str, Any]) -> None:
    if len(found) >= MAX_PATHS:
        return
    if type(value) is dict and value and len(value) <= MAX_MEMBERS and depth < MAX_DEPTH:
        for name, member in value.items():
            if depth == 0 and name in _ROUTING_IDS:
                continue
            if _is_plain(name):
                _walk(member, f"{path}.{name}" if path else name, depth + 1, found)
    elif type(value) is list and value and depth < MAX_DEPTH:
        for index, member in enumerate(value[:MAX_ITEMS]):
            _walk(member, f"{path}[{index}]", depth + 1, found)
    elif path:
        found[path] = value


def kind_of(value: Any) -> ValueKind:
    match value:
        case None:
            return ValueKind.NULL
        case bool():
            return ValueKind.BOOLEAN
        case int() | Decimal():
            return _number_kind(value)
        case dict():
            return ValueKind.OBJECT
        case list():
            return ValueKind.LIST
        case _:
            return _text_kind(str(value))


def _number_kind(value: int | Decimal) -> ValueKind:
    if value <= 0:
        return ValueKind.ZERO if value == 0 else ValueKind.NEGATIVE
    value = as_integer(value)
    if type(value) is not int:
        return ValueKind.DECIMAL
    if 1_000_000_000 <= value < 4_000_000_000:
        return ValueKind.EPOCH_SECONDS
    if 1_000_000_000_000 <= value < 4_000_000_000_000:
        return ValueKind.EPOCH_MILLISECONDS
    return ValueKind.INTEGER


_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_HASH: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)
_IP: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}", re.ASCII)
_DATE: Final = re.compile(r"[12][0-9]{3}-[01][0-9]-[0-3][0-9]", re.ASCII)
_PHONE: Final = re.compile(r"(?P<whole>\+|00)?[0-9() ./-]{6,30}", re.ASCII)
_LATIN: Final = re.compile(r"[A-Za-z0-9]", re.ASCII)


def _text_kind(text: str) -> ValueKind:
    if not text or text.isspace():
        return ValueKind.BLANK
    if len(text) > 1024:
        return ValueKind.TCF if _is_tcf(text) else ValueKind.ENDLESS_TEXT
    # Cheap checks come before the patterns, because a pattern that does not match takes ten times as long.
    word = text.strip()
    if is_placeholder(word) is not None:
        return ValueKind.UNUSABLE_TRAIT
    if "@" in word and _EMAIL.fullmatch(word):
        return ValueKind.EMAIL
    if len(word) == 64 and _HASH.fullmatch(word):
        return ValueKind.HASH if word.strip(word[0]) else ValueKind.UNUSABLE_TRAIT
    if len(word) == 36 and word[8] == "-" and _UUID.fullmatch(word):
        return ValueKind.UUID
    if (word[0].isdigit() or ":" in word) and _IP.fullmatch(word):
        return ValueKind.IP_ADDRESS
    if word[0] in "0123456789+-.(":
        return _numeric_text_kind(text, word)
    return _word_kind(text, word)


def _numeric_text_kind(text: str, word: str) -> ValueKind:
    if len(text) >= 17 and text[4] == "-" and read_time(text) is not None:
        return ValueKind.TIME
    if _DATE.fullmatch(word):
        return ValueKind.DATE
    if word.isdecimal() and word.isascii():
        return ValueKind.DIGITS if len(word) >= 7 else ValueKind.NUMBER_TEXT
    if word[0] != "+" and read_number(word) is not None:
        return ValueKind.NUMBER_TEXT
    if (phone := _PHONE.fullmatch(word)) and sum(map(str.isdigit, word)) >= 6:
        if not word.strip("+0() ./-"):
            return ValueKind.UNUSABLE_TRAIT
        return ValueKind.PHONE if phone["whole"] else ValueKind.NATIONAL_PHONE
    return ValueKind.TEXT if len(text) <= 256 else ValueKind.LONG_TEXT


def _word_kind(text: str, word: str) -> ValueKind:
    if text in EVENT_TYPES:
        return ValueKind.EVENT_TYPE
    if text in EVENT_SOURCES:
        return ValueKind.EVENT_SOURCE
    if text in CURRENCIES:
        return ValueKind.CURRENCY
    if (len(word) == 2 or (len(word) <= 6 and word[2:3] == "-")) and (
        country := read_country(word)
    ) is not None:
        return ValueKind.CONSENT_COUNTRY if country.code in CONSENT_COUNTRIES else ValueKind.COUNTRY
    if len(word) <= 9 and (consent_word := CONSENT_WORDS.get(word.lower())) is not None:
        return ValueKind.GRANTED if consent_word == "GRANTED" else ValueKind.DENIED
    if _is_tcf(word):
        return ValueKind.TCF
    if word.startswith("DB") and GPP.fullmatch(word):
        return ValueKind.GPP
    if not _LATIN.search(text):
        return ValueKind.FOREIGN_TEXT
    return ValueKind.TEXT if len(text) <= 256 else ValueKind.LONG_TEXT


def _is_tcf(text: str) -> bool:
    return text[0] == "C" and len(text) >= 39 and tcf.consents(text, vendor=1, purposes=()) is not None


# --- Storage --------------------------------------------------------------------------------------

_MAX_DECOMPRESSED: Final = 16 * 1024 * 1024
_encoder: Final = msgspec.msgpack.Encoder()


class _Packed(msgspec.Struct, array_like=True):
    """Each name is stored once: `rows` and `different` have the numbers of names."""

    names: list[str]
    rows: list[tuple[int, tuple[int, ...]]]  # the number of events; path, kind and word of each entry
    different: list[tuple[int, int]]  # path, and how many of its values were new
    counter: int
    version: int
    generation: int  # of the fingerprints


_decoder: Final = msgspec.msgpack.Decoder(_Packed)


@dataclass(frozen=True, slots=True)
class SampleGroup:
    """Samples that were written together, with their numbers of events.

    All are of events that `version` of the mapping accepted; `version` is None for other events. `different`
    has the number of values of each path that were new to the counter `counter`. A counter counts in the
    memory of one process.
    """

    samples: Mapping[SchemaSample, int]
    different: Mapping[str, int]
    counter: int = 0
    version: int | None = None


def pack(group: SampleGroup, fingerprints: Fingerprints) -> bytes:
    """Encode and compress a group. Fingerprints are stored as their places in `fingerprints`."""
    names: dict[str, int] = {}

    def number(name: str) -> int:
        return names.setdefault(name, len(names))

    def word(entry: SampleEntry) -> int:
        if isinstance(entry.word, str):
            return 0 if fingerprints.is_closed(entry.path) else number(entry.word) + 1
        return 0 if entry.word is None else fingerprints.place(entry.path, entry.word)

    rows: Counter[tuple[int, ...]] = Counter()
    for sample, times in group.samples.items():
        rows[
            tuple([n for entry in sample for n in (number(entry.path), number(entry.kind), word(entry))])
        ] += times
    different = [(number(path), count) for path, count in group.different.items()]
    packed = _Packed(
        list(names),
        [(times, row) for row, times in rows.items()],
        different,
        group.counter,
        group.version or 0,
        fingerprints.generation,
    )
    return compress(_encoder.encode(packed))


def read(stored: bytes, fingerprints: Fingerprints) -> SampleGroup | None:
    """Return the group that `pack` encoded; None if it is damaged."""
    try:
        packed = _decoder.decode(expand(stored, _MAX_DECOMPRESSED))
        names, is_current = packed.names, packed.generation == fingerprints.generation

        def entry(path: int, kind: int, word: int) -> SampleEntry:
            found = (
                names[word - 1] if word > 0 else fingerprints.find(names[path], word) if is_current else None
            )
            return SampleEntry(names[path], ValueKind(names[kind]), found)

        samples: Counter[SchemaSample] = Counter()  # samples can be equal after fingerprints were deleted
        for times, row in packed.rows:
            triples = zip(row[::3], row[1::3], row[2::3], strict=True)
            samples[tuple([entry(*triple) for triple in triples])] += times
        different = {names[path]: count for path, count in packed.different}
    except (ValueError, IndexError):
        return None
    return SampleGroup(samples, different, packed.counter, packed.version or None)
