"""Check the values of fields for Amazon.

Each check takes a value of an event that is neither null nor blank. It returns the value for Amazon, or
`SourceFailed`. A text in clear must hold no email address and no phone number (interface §4.5). Sources: P10,
P11, the notes on Amazon's schema, and interface §4.3.
"""

import ipaddress
import re
from collections.abc import Container, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final, NamedTuple

from app.domain.conversion.amazon_codes import COUNTRIES, CURRENCIES, EVENT_SOURCES, EVENT_TYPES, read_country
from app.domain.conversion.numbers import as_integer, as_text, is_number, scalar_text
from app.domain.conversion.timestamps import EventTime, is_usual_time, read_time
from app.domain.event import CONTROL_CHARACTER, DERIVED_SHAPE
from app.domain.identity import match_key
from app.domain.identity.identifiers import is_public
from app.domain.identity.keys import ALREADY_HASHED, MATCH_KEYS, DropReason, MatchKey, MatchKeyRule, Profile
from app.domain.mapping.reading import SourceFailed, wrong_type
from app.domain.mapping.sources import Check
from app.domain.privacy.personal_text import holds_personal_text, is_personal_id

MAX_VALUE: Final = 10**13  # a double represents every hundredth up to this value
_MAX_VALUE: Final = Decimal(MAX_VALUE)
_MIN_VALUE: Final = -_MAX_VALUE
MAX_UNITS: Final = 2**31 - 1  # the schema's int32
MAX_TRAIT_LENGTH: Final = 1024
MAX_CUSTOM_LENGTH: Final = 256
MAX_USER_AGENT: Final = 512
MAX_AMAZON_EVENT_ID: Final = 512
MAX_AD_EVENT_KEY: Final = 512
MAX_TOKENS: Final = 1024
MAX_ADDRESSES: Final = 1024  # characters of a list of IP addresses

# The failure of a value that would send an email address or a phone number in clear, in any field.
PERSONAL: Final = SourceFailed("personal", "looks like an email address or a phone number")

_TOKENS: Final = re.compile(r"[A-Za-z0-9]{10}\.[0-9]{13}(?:\|[A-Za-z0-9]{10}\.[0-9]{13})*", re.ASCII)
is_plain: Final = re.compile(r"[A-Za-z0-9_]{1,256}", re.ASCII).fullmatch
"""Whether Amazon's documents agree on a custom value. Other clients send others, so they pass (P10)."""
# An IPv4 address, or an IPv6 address in brackets, with or without a port.
_WITH_PORT: Final = re.compile(r"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\])(?::[0-9]{1,5})?", re.ASCII)


def _clear_text(value: Any, reason: str, *, limit: int) -> str | SourceFailed:
    """Read a text, or a number as a text, that is sent in clear."""
    text = value if isinstance(value, SourceFailed) else as_text(value)
    if isinstance(text, SourceFailed):
        return text
    if len(text) > limit:
        return SourceFailed(reason, f"has more than {limit:,} characters")
    if CONTROL_CHARACTER.search(text):
        return SourceFailed(reason, "contains a control character")
    return PERSONAL if holds_personal_text(text) else text


def _choice(name: str, choices: Container[str]) -> Check:
    """Return the check of a field whose value is one of `choices`. Upper and lower case matter."""
    failed = SourceFailed(f"{name}_invalid", "is not in Amazon's list")

    def check(value: Any) -> str | SourceFailed:
        text = as_text(value)
        return text if isinstance(text, SourceFailed) or text in choices else failed

    return check


check_event_type: Final = _choice("event_type", EVENT_TYPES)
check_event_source: Final = _choice("event_source", EVENT_SOURCES)


def check_country(value: Any) -> str | SourceFailed:
    """Read a country code."""
    if type(value) is str and value in COUNTRIES:
        return value
    text = as_text(value)
    if isinstance(text, SourceFailed):
        return text
    return read_country(text) or SourceFailed("country_invalid", "is not a country in Amazon's list")


def check_time(value: Any) -> EventTime | SourceFailed:
    """Read the time of an event."""
    if type(value) is str and is_usual_time(value):
        try:
            return EventTime(datetime.fromisoformat(value), value)
        except ValueError:  # such as 30 February, 24:00, a leap second
            pass
    if type(value) is not str and not is_number(value):
        return wrong_type(value, "a time is expected")
    return read_time(value) or SourceFailed("timestamp_invalid", "is not a time with a zone")


def check_amount(value: Any) -> int | Decimal | SourceFailed:
    """Read a score, with all its decimals (P11)."""
    if type(value) is not int and type(value) is not Decimal:
        return wrong_type(value, "a number is expected")
    if not _MIN_VALUE <= value <= _MAX_VALUE:
        return SourceFailed("value_invalid", "is larger than 10 trillion")
    return value


def check_price(value: Any) -> int | Decimal | SourceFailed:
    """Read the money of a purchase, which must not be negative (P11)."""
    if is_number(value) and value < 0:
        return SourceFailed("value_invalid", "is negative, which a purchase cannot be")
    return check_amount(value)


def _currency(value: Any) -> str | SourceFailed:
    text = as_text(value)
    if isinstance(text, SourceFailed):
        return text
    code = text.strip(" ").upper() if text.isascii() else ""
    return code if code in CURRENCIES else SourceFailed("currency_invalid", "is not an Amazon currency")


def _units(value: Any) -> int | SourceFailed:
    """Read the number of units: a whole number without exponent, where `2.0` counts as 2 (P11)."""
    if not is_number(value):
        return wrong_type(value, "a whole number is expected")
    value = as_integer(value)
    if type(value) is not int or not 1 <= value <= MAX_UNITS:
        return SourceFailed("units_invalid", f"is not a whole number from 1 to {MAX_UNITS:,}")
    return value


def _event_id(value: Any) -> str | SourceFailed:
    """Read the eventId for Amazon. Refuse an email address, a phone number, and the form of a derived id."""
    text = _clear_text(value, "amazon_event_id_invalid", limit=MAX_AMAZON_EVENT_ID)
    if text is PERSONAL or (isinstance(text, str) and is_personal_id(text)):
        return SourceFailed("event_id_personal", PERSONAL.sentence)
    if isinstance(text, str) and DERIVED_SHAPE.match(text):
        sentence = "has the format of a derived id: 16 hex digits and a colon"
        return SourceFailed("amazon_event_id_invalid", sentence)
    return text


def _ip_address(value: Any) -> str | SourceFailed:
    """Read the first public address of a list such as `X-Forwarded-For`, without its port."""
    text = _clear_text(value, "ip_address_invalid", limit=MAX_ADDRESSES)
    if isinstance(text, SourceFailed):
        return text
    failed = SourceFailed("ip_address_invalid", "is not an IP address")
    for word in text.split(","):
        with_port = _WITH_PORT.fullmatch(word.strip())
        try:
            address = ipaddress.ip_address(with_port[1] or with_port[2] if with_port else word.strip())
        except ValueError:
            continue
        if is_public(address) and "%" not in word:  # behind the sign is an interface of a machine
            return str(address)
        failed = SourceFailed("ip_address_invalid", "is not a public address")
    return failed


def _limited_data_use(value: Any) -> bool | SourceFailed:
    """Read whether Amazon must process the event with limited data use."""
    if type(value) is str:
        value = _BOOLEANS.get(value.strip().lower(), value)
    if type(value) is bool:
        return value
    if type(value) is str:
        return SourceFailed("limited_data_use_invalid", "is a text, where true or false is expected")
    return wrong_type(value, "true or false is expected")


_BOOLEANS: Final = {"true": True, "false": False}


def _measurement_tokens(value: Any) -> str | SourceFailed:
    """Read the `aref` parameter of ad clicks: `<token>.<milliseconds>`, separated by `|`."""
    text = _clear_text(value, "measurement_token_invalid", limit=MAX_TOKENS)
    if isinstance(text, str) and not _TOKENS.fullmatch(text):
        sentence = "is not a list of <10 letters or digits>.<13 digits>, separated by |"
        return SourceFailed("measurement_token_invalid", sentence)
    return text


def check_custom(value: Any) -> str | SourceFailed:
    """Read a custom value as text."""
    if type(value) is str and is_plain(value):
        return value
    return _clear_text(scalar_text(value), "custom_data_invalid", limit=MAX_CUSTOM_LENGTH)


class OptionalMember(NamedTuple):
    """A member that Amazon needs for no event: the check of its field, and the JSON around its value.

    `precedes` says whether the member precedes the custom data.
    """

    check: Check
    opening: str
    closing: str = ""
    precedes: bool = False


# In the order of the table in contract §2.1.
OPTIONAL_MEMBERS: Final[Mapping[str, OptionalMember]] = {
    "limited_data_use": OptionalMember(
        _limited_data_use, ',"dataProcessingOptions":{"options":"LIMITED_DATA_USE"}', precedes=True
    ),
    "user_agent": OptionalMember(
        lambda value: _clear_text(value, "user_agent_invalid", limit=MAX_USER_AGENT),
        ',"deviceInfo":{"userAgent":',
        "}",
    ),
    "aref_measurement_tokens": OptionalMember(_measurement_tokens, ',"arefMeasurementTokens":'),
    "amazon_ad_event_key": OptionalMember(
        lambda value: _clear_text(value, "ad_event_key_invalid", limit=MAX_AD_EVENT_KEY),
        ',"amazonAdEventKey":',
    ),
}

# All fields that are neither required nor a match key. `value` is checked by `check_price` in a purchase.
CHECKS: Final[Mapping[str, Check]] = {
    "value": check_amount,
    "currency": _currency,
    "units_sold": _units,
    "event_id": _event_id,
    "ip_address": _ip_address,
    **{name: member.check for name, member in OPTIONAL_MEMBERS.items()},
}


# The steps of one check of a match key. A national phone number is looked up in a plan of numbers, and the
# words of an address in a table.
KEY_STEPS: Final = {
    rule.field: {"phone": 35, "address": 30, "state": 12}.get(rule.field, 8) for rule in MATCH_KEYS
}


@cache  # 3 profiles, 15 match keys, 252 countries
def key_check(profile: Profile, rule: MatchKeyRule, country: str, *, refuses_digests: bool = False) -> Check:
    """Return the check of a match key, whose result is a `MatchKey`.

    The failure of a value that gives no match key has the word of its `DropReason`. `refuses_digests` refuses
    values that were hashed before.
    """
    has_zip_codes, is_hashed = rule.field == "postal" and country == "US", rule.hashed

    def check(value: Any) -> MatchKey | SourceFailed:
        if type(value) is not str:
            text = as_text(value)
            if isinstance(text, SourceFailed):
                return text
            # A number has lost the zeros before it: 2134 is 02134.
            value = text.zfill(5) if has_zip_codes and text.isdecimal() else text
        if len(value) > MAX_TRAIT_LENGTH:
            return _TRAIT_TOO_LONG
        key = match_key(profile, rule, value, country=country)
        if isinstance(key, MatchKey):
            if refuses_digests and key.rule == ALREADY_HASHED:
                return _PREHASHED
            return key if is_hashed or not holds_personal_text(key.value) else PERSONAL
        return _NO_KEY[key]

    return check


_PREHASHED: Final = SourceFailed(
    "match_key_invalid", "is hashed already, which the mapping refuses", "prehashed"
)
_TRAIT_TOO_LONG: Final = SourceFailed(
    "value_too_long", f"has more than {MAX_TRAIT_LENGTH:,} characters", DropReason.TOO_LONG.value
)
_NO_KEY: Final = {
    why: SourceFailed("match_key_invalid", f"gives no match key: {why.value.replace('_', ' ')}", why.value)
    for why in DropReason
}
