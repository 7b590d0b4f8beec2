"""The kinds of values in events: formats such as "time" or "email", which are no personal data.

A kind says what the checks of fields answer for a value, as far as that does not depend on more than its
format. A text that could surprise a check is an `ODD_TEXT`.
"""

import email.utils
import hashlib
import re
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Self

from app.domain.conversion import amazon_codes, tcf
from app.domain.conversion.consent import CONSENT_COUNTRIES, CONSENT_WORDS, GPP
from app.domain.conversion.numbers import as_integer, read_number
from app.domain.conversion.timestamps import read_time
from app.domain.event import CONTROL_CHARACTER, DERIVED_SHAPE
from app.domain.identity import match_key
from app.domain.identity.keys import RULES_BY_FIELD, DropReason, MatchKey, Profile
from app.domain.identity.placeholders import is_placeholder_or_digest
from app.domain.mapping.time_steps import local_times, pattern_of
from app.domain.privacy.personal_text import holds_personal_text, is_personal_id

Example = Callable[[int, datetime], Any]


def _always(value: Any) -> Example:
    return lambda _number, _at: value


_NOTHING: Final = _always(None)


def _letters(number: int) -> str:
    return chr(ord("a") + number // 26 % 26) + chr(ord("a") + number % 26)


class ValueKind(StrEnum):
    """The kind of value at a path. The names are stored, so they must never change.

    `example` invents a value of the kind for the path with a number, from 0 to some hundreds, and a recent
    time. Paths of the same kind get different values where possible.
    """

    example: Example
    json_type: str

    def __new__(cls, name: str, example: Example = _NOTHING, json_type: str = "text") -> Self:
        kind = str.__new__(cls, name)
        kind._value_, kind.example, kind.json_type = name, example, json_type
        return kind

    NULL = "null", _NOTHING, "null"
    BOOLEAN = "boolean", _always(True), "boolean"
    ZERO = "zero", _always(0), "number"
    NEGATIVE = "negative", lambda n, _: -1 - n, "number"
    INTEGER = "integer", lambda n, _: 12 + n, "number"
    LARGE_NUMBER = "large_number", lambda n, _: 10**15 + n, "number"  # a positive integer beyond amounts
    ENDLESS_NUMBER = "endless_number", _always(10**70), "number"  # any other number beyond amounts
    DECIMAL = "decimal", lambda n, _: Decimal(12 + n) + Decimal("0.34"), "number"
    EPOCH_SECONDS = "epoch_seconds", lambda _, at: int(at.timestamp()), "number"
    EPOCH_MILLISECONDS = "epoch_milliseconds", lambda _, at: int(at.timestamp()) * 1000, "number"
    OBJECT = "object", lambda _, __: {"": ""}, "object"
    LIST = "list", lambda _, __: [""], "list"  # new ones each time, because the event is changed
    EMPTY_OBJECT = "empty_object", lambda _, __: dict[str, Any](), "object"
    EMPTY_LIST = "empty_list", lambda _, __: list[Any](), "list"
    EMPTY_TEXT = "empty_text", _always("")
    BLANK = "blank", _always(" ")  # white space
    TEXT = "text", lambda n, _: f"text{_letters(n)}"
    CODE = "code", lambda n, _: f"4.{n}.0-1"  # digits and signs, such as 4.2.1
    # holds an address or a phone number in another form
    PERSONAL_TEXT = "personal_text", lambda n, _: f"?mail=someone{n}%40example.com"
    # may hold personal data, white space at its ends, or no letter
    ODD_TEXT = "odd_text", lambda n, _: f" text{_letters(n)} "
    LONG_TEXT = "long_text", lambda n, _: "text" * 100 + _letters(n)
    ENDLESS_TEXT = "endless_text", lambda n, _: "text" * 300 + _letters(n)
    FOREIGN_TEXT = "foreign_text", lambda n, _: f"文{chr(0x4E00 + n)}"
    EMAIL = "email", lambda n, _: f"someone{n}@example.com"
    HASH = "hash", lambda n, _: hashlib.sha256(b"%d" % n).hexdigest()
    UUID = "uuid", lambda n, _: str(uuid.UUID(int=0x5E884898DA2847159D0E56F8DC629277 + n))
    TIME = "time", lambda _, at: at.strftime("%Y-%m-%dT%H:%M:%SZ")  # of the day before the sample was taken
    RFC_TIME = "rfc2822_time", lambda _, at: email.utils.format_datetime(at)  # of the day before
    # of another time
    OLD_TIME = "old_time", lambda _, at: (at - timedelta(days=1_000)).strftime("%Y-%m-%dT%H:%M:%SZ")
    # without a zone; the word of the sample is the pattern of the step `time`
    PATTERN_TIME = "pattern_time"
    OLD_PATTERN_TIME = "old_pattern_time"  # of another time in every zone, or of none, such as 31 February
    EPOCH_TEXT = "epoch_text", lambda _, at: str(int(at.timestamp()))  # ten digits: a time of the day before
    # thirteen digits
    EPOCH_MILLISECONDS_TEXT = "epoch_milliseconds_text", lambda _, at: str(int(at.timestamp()) * 1000)
    DATE = "date", lambda n, at: (at - timedelta(days=n)).strftime("%Y-%m-%d")
    PHONE = "phone", lambda n, _: f"+1202555{n % 10_000:04}"
    NATIONAL_PHONE = "national_phone", lambda n, _: f"202-555-{n % 10_000:04}"
    DIGITS = "digits", lambda n, _: f"202555{n % 10_000:04}"
    NUMBER_TEXT = "number_text", lambda n, _: str(12 + n)
    DECIMAL_TEXT = "decimal_text", lambda n, _: f"{12 + n}.34"  # 12.50
    COMMA_TEXT = "comma_text", lambda n, _: f"{12 + n},34"  # 12,50 or 1.234,50
    POINT_TEXT = "point_text", lambda n, _: f"1,{n % 1_000:03}.34"  # 1,234.50
    # with a currency or groups: either decimal sign is possible
    AMOUNT_TEXT = "amount_text", lambda n, _: f"{12 + n} €"
    POINT_OR_GROUP_TEXT = "point_or_group_text", lambda n, _: f"{12 + n}.345"
    EVENT_TYPE = "event_type", _always("OTHER")
    EVENT_SOURCE = "event_source", _always("WEBSITE")
    CURRENCY = "currency", _always("USD")
    COUNTRY = "country", _always("US")
    CONSENT_COUNTRY = "consent_country", _always("DE")
    GRANTED = "granted", _always("GRANTED")
    DENIED = "denied", _always("DENIED")
    TCF = "tcf", _always(tcf.consent_to_all())
    GPP = "gpp", lambda n, _: f"DBAA~BAAA.{_letters(n)}"
    IP_ADDRESS = "ip_address", lambda n, _: f"8.8.{n // 250}.{n % 250 + 1}"
    # a placeholder, such as null, zeros or an unfilled template; a sample holds others than templates
    UNUSABLE_TRAIT = "unusable_trait", lambda n, _: f"{{{{{_letters(n)}}}}}"


EMPTY: Final = frozenset(
    {kind for kind in ValueKind if kind.json_type in ("null", "object", "list")}
    | {ValueKind.EMPTY_TEXT, ValueKind.BLANK}
)
"""The kinds of values that fill no field."""
PATTERN_TIMES: Final = frozenset({ValueKind.PATTERN_TIME, ValueKind.OLD_PATTERN_TIME})
LISTED: Final = frozenset(
    {ValueKind.EVENT_TYPE, ValueKind.EVENT_SOURCE, ValueKind.CURRENCY, ValueKind.COUNTRY}
    | {ValueKind.CONSENT_COUNTRY, ValueKind.GRANTED, ValueKind.DENIED}
)
"""The kinds of members of closed lists."""


def kind_of(value: Any, now: datetime) -> ValueKind:
    """Return the kind of a value. A time is recent if it is of the day before `now`."""
    match value:
        case None:
            return ValueKind.NULL
        case bool():
            return ValueKind.BOOLEAN
        case int() | Decimal():
            return _number_kind(value, now)
        case dict():
            return ValueKind.OBJECT if value else ValueKind.EMPTY_OBJECT
        case list():
            return ValueKind.LIST if value else ValueKind.EMPTY_LIST
        case _:
            return _text_kind(str(value), now)


_DAY: Final = 86_400
_LARGE: Final = 10**9  # may be a time, or too much
_ENDLESS: Final = 10**64


def _number_kind(value: int | Decimal, now: datetime) -> ValueKind:
    if not -_LARGE < value < _LARGE:
        seconds, milliseconds = _is_recent(value, now, 1), _is_recent(value, now, 1000)
        if seconds or milliseconds:
            return ValueKind.EPOCH_SECONDS if seconds else ValueKind.EPOCH_MILLISECONDS
        is_plain = type(value) is int and 0 < value < _ENDLESS
        return ValueKind.LARGE_NUMBER if is_plain else ValueKind.ENDLESS_NUMBER
    if value <= 0:
        return ValueKind.ZERO if value == 0 else ValueKind.NEGATIVE
    return ValueKind.INTEGER if type(as_integer(value)) is int else ValueKind.DECIMAL


def _is_recent(number: int | Decimal, now: datetime, per_second: int) -> bool:
    at = int(now.timestamp()) * per_second
    return type(number) is int and at - _DAY * per_second < number <= at


_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_HASH: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)
_IP: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}", re.ASCII)
_DATE: Final = re.compile(r"[12][0-9]{3}-[01][0-9]-[0-3][0-9]", re.ASCII)
_PHONE: Final = re.compile(r"\+?[0-9() ./-]{6,30}", re.ASCII)
_DIGIT: Final = re.compile(r"[0-9]", re.ASCII)
_LETTER: Final = re.compile(r"[A-Za-z]", re.ASCII)
_LONGEST_COUNTRY: Final = len("zh-Hant-TW")
_LONGEST_CODE: Final = 64


def _text_kind(text: str, now: datetime) -> ValueKind:
    if not text:
        return ValueKind.EMPTY_TEXT
    if text.isspace():
        return ValueKind.BLANK
    if len(text) > 1024:
        return ValueKind.TCF if is_tcf(text) else ValueKind.ENDLESS_TEXT
    # Cheap checks come before the patterns, because a pattern that does not match takes ten times as long.
    word = text.strip()
    if (dropped := is_placeholder_or_digest(word)) is not None:
        return ValueKind.UNUSABLE_TRAIT if dropped is DropReason.PLACEHOLDER else ValueKind.ODD_TEXT
    if "@" in word:
        # With more digits, it may also give a phone number.
        is_email = _EMAIL.fullmatch(word) and sum(map(str.isdigit, word)) < 7 and _is_key("email", word)
        return ValueKind.EMAIL if is_email else ValueKind.ODD_TEXT
    if word[0] == "+" and _PHONE.fullmatch(word) and sum(map(str.isdigit, word)) >= 6:
        if not word.strip("+0() ./-"):
            return ValueKind.UNUSABLE_TRAIT
        return ValueKind.PHONE if _is_key("phone", word) else ValueKind.ODD_TEXT
    if word != text or CONTROL_CHARACTER.search(text) or DERIVED_SHAPE.match(text):
        return ValueKind.ODD_TEXT
    if holds_personal_text(text):
        return ValueKind.PERSONAL_TEXT
    if is_personal_id(text):
        return ValueKind.ODD_TEXT
    if len(word) == 64 and _HASH.fullmatch(word):
        return ValueKind.HASH if _is_key("email", word) else ValueKind.UNUSABLE_TRAIT
    if len(word) == 36 and word[8] == "-" and _UUID.fullmatch(word):
        return ValueKind.UUID if _is_key("maid", word) else ValueKind.ODD_TEXT
    if (word[0].isdigit() or ":" in word) and _IP.fullmatch(word):
        return ValueKind.IP_ADDRESS if _is_key("fip", word) else ValueKind.ODD_TEXT
    return _time_kind(text, now) or _digits_kind(text, now) or _number_text_kind(text) or _word_kind(text)


def _time_kind(text: str, now: datetime) -> ValueKind | None:
    if not 12 <= len(text) <= 40 or ":" not in text:
        return None
    if (moment := read_time(text)) is not None:
        if not 0 <= (now - moment.at).total_seconds() < _DAY:
            return ValueKind.OLD_TIME
        return ValueKind.TIME if text[4:5] == "-" else ValueKind.RFC_TIME
    if pattern_of(text) is None:
        return None
    # Read as if it were in UTC, a time of the day before in the far east, or in the west.
    is_recent = any(timedelta(hours=-14) <= now - at < timedelta(hours=36) for at in local_times(text))
    return ValueKind.PATTERN_TIME if is_recent else ValueKind.OLD_PATTERN_TIME


def _digits_kind(text: str, now: datetime) -> ValueKind | None:
    """Return the kind of a text that may be a phone number, an id or a date."""
    if text[0] not in "0123456789(":
        return None
    if _DATE.fullmatch(text):
        return ValueKind.DATE
    if text.isdecimal() and text.isascii():
        if len(text) == 10 and _is_recent(int(text), now, 1):
            return ValueKind.EPOCH_TEXT
        if len(text) == 13 and _is_recent(int(text), now, 1000):
            return ValueKind.EPOCH_MILLISECONDS_TEXT
        return ValueKind.DIGITS if len(text) >= 7 else None
    if _PHONE.fullmatch(text) and sum(map(str.isdigit, text)) >= 6 and read_number(text) is None:
        return ValueKind.NATIONAL_PHONE if text.strip("0() ./-") else ValueKind.UNUSABLE_TRAIT
    return None


def _number_text_kind(text: str) -> ValueKind | None:
    """Return the kind of a text in which a number is read with some decimal sign."""
    if len(text) > 30 or not _DIGIT.search(text):
        return None
    plain, comma, point = (read_number(text, decimal) for decimal in (None, ",", "."))
    number = plain if plain is not None else comma if comma is not None else point
    if number is None:
        return None
    if not 0 <= number < _LARGE or text[0] in "+-":
        return ValueKind.DIGITS if text.isdecimal() else ValueKind.ODD_TEXT
    if plain is not None:
        if comma is None:
            return ValueKind.DECIMAL_TEXT
        return ValueKind.NUMBER_TEXT if text.isdecimal() else ValueKind.POINT_OR_GROUP_TEXT
    if comma is not None and point is not None:
        return ValueKind.AMOUNT_TEXT
    return ValueKind.COMMA_TEXT if comma is not None else ValueKind.POINT_TEXT


def _is_key(field: str, text: str) -> bool:
    """Return whether every identity profile makes a match key of a text."""
    keys = (match_key(profile, RULES_BY_FIELD[field], text, country="US") for profile in Profile)
    return all(type(key) is MatchKey for key in keys)


def _word_kind(text: str) -> ValueKind:
    if text in amazon_codes.EVENT_TYPES:
        return ValueKind.EVENT_TYPE
    if text in amazon_codes.EVENT_SOURCES:
        return ValueKind.EVENT_SOURCE
    if len(text) == 3 and text.upper() in amazon_codes.CURRENCIES and text.isascii():
        return ValueKind.CURRENCY
    if len(text) <= _LONGEST_COUNTRY and (country := amazon_codes.read_country(text)) is not None:
        return ValueKind.CONSENT_COUNTRY if country in CONSENT_COUNTRIES else ValueKind.COUNTRY
    if len(text) <= 9 and (consent_word := CONSENT_WORDS.get(text.lower())) is not None:
        return ValueKind.GRANTED if consent_word == "GRANTED" else ValueKind.DENIED
    if is_tcf(text):
        return ValueKind.TCF
    if is_gpp(text):
        return ValueKind.GPP
    if not _LETTER.search(text):
        is_code = len(text) <= _LONGEST_CODE and text.isascii() and _DIGIT.search(text)
        is_foreign = text.replace(" ", "").isalpha()
        return ValueKind.CODE if is_code else ValueKind.FOREIGN_TEXT if is_foreign else ValueKind.ODD_TEXT
    return ValueKind.TEXT if len(text) <= 256 else ValueKind.LONG_TEXT


def is_tcf(text: str) -> bool:
    return text[:1] == "C" and len(text) >= 39 and tcf.consents(text, vendor=1, purposes=()) is not None


def is_gpp(text: str) -> bool:
    return text.startswith("DB") and GPP.fullmatch(text) is not None
