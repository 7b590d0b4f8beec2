"""Samples of events: the paths of an event, and the kind of value at each path, without values.

After a request, the service keeps only samples of its events. The samples show the event schema, and mapping
drafts are tested on them. A kind is a format such as "time" or "email", which is no personal data. A member
is left out with everything in it if its name could be a value, such as an address or a number. See ADR 0016.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import msgspec

from app.domain.compression import compress, expand
from app.domain.conversion import tcf
from app.domain.conversion.consent import CONSENT_WORDS, GPP
from app.domain.conversion.countries import CONSENT_COUNTRIES, read_country
from app.domain.conversion.currencies import CURRENCIES
from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES
from app.domain.conversion.numbers import as_integer, read_number
from app.domain.conversion.timestamps import read_time
from app.domain.identity.placeholders import is_placeholder
from app.domain.mapping.paths import IMPASSABLE, getter, parse_path

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

SchemaSample = tuple[tuple[str, ValueKind], ...]


def take_sample(
    content: dict[str, Any],
    mapped: Iterable[str] = (),
    unusable: Mapping[str, ValueKind] = MappingProxyType({}),
) -> SchemaSample:
    """Return the sample of an event, in time linear in the event's size.

    The sample has at most 200 paths, and in addition the paths of `mapped`, whatever their names are.
    `unusable` has the paths whose values gave no match key, each with the kind to record for it.
    """
    found: dict[str, ValueKind] = {}
    _walk(content, "", 0, found)
    for path in mapped:
        if path not in found:
            steps = parse_path(path)
            value = None if steps is None else getter(steps)(content)
            if value is not None and value is not IMPASSABLE:
                found[path] = kind_of(value)
    found.update((path, kind) for path, kind in unusable.items() if path in found)
    return tuple(found.items())


def may_be_unsampled(path: str, sample: SchemaSample) -> bool:
    """Return whether an event may have this path although its sample does not."""
    steps = parse_path(path) or ()
    if len(sample) >= MAX_PATHS or len(steps) > MAX_DEPTH:
        return True
    for step in steps:
        if step >= MAX_ITEMS if isinstance(step, int) else not _is_plain(step):
            return True
    # The members of an object or list that is itself in the sample were left out.
    return any(kind in _CONTAINERS and path.startswith(found) for found, kind in sample)


def _is_plain(name: str) -> bool:
    return _PLAIN_NAME.fullmatch(name) is not None and not _LONG_NUMBER.search(name)


_CONTAINERS: Final = frozenset({ValueKind.OBJECT, ValueKind.LIST})


def _walk(value: Any, path: str, depth: int, found: dict[str, ValueKind]) -> None:
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
        found[path] = kind_of(value)


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
_decoder: Final = msgspec.msgpack.Decoder(tuple[list[str], list[tuple[int, list[int]]]])


def pack(counted: Mapping[SchemaSample, int]) -> bytes:
    """Encode and compress samples with their numbers of events. Each name is stored once."""
    names: dict[str, int] = {}
    rows = [
        (times, [names.setdefault(name, len(names)) for row in sample for name in row])
        for sample, times in counted.items()
    ]
    return compress(_encoder.encode((list(names), rows)))


def read(packed: bytes) -> list[tuple[SchemaSample, int]] | None:
    """Return the samples that `pack` encoded, with their numbers of events; None if they are damaged."""
    try:
        words, rows = _decoder.decode(expand(packed, _MAX_DECOMPRESSED))
        return [
            (
                tuple(
                    (words[path], ValueKind(words[kind]))
                    for path, kind in zip(row[::2], row[1::2], strict=True)
                ),
                times,
            )
            for times, row in rows
        ]
    except (ValueError, IndexError):
        return None
