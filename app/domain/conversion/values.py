"""Readers and wire formats of the fields other than match keys.

Each reader takes a JSON value that is neither null nor blank and returns the wire value or `SourceFailed`,
whose sentence completes "… is mapped to <path>, which …" and never contains the value. Sources: P10, P11 and
schema notes.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion.currencies import CURRENCIES
from app.domain.conversion.failures import SourceFailed, json_type, wrong_type
from app.domain.conversion.numbers import as_integer, is_number, number_text, rounded
from app.domain.event import CONTROL_CHARACTER, DERIVED_SHAPE, is_personal_id

MAX_VALUE: Final = 10**13  # up to here a double represents every hundredth
_MAX_VALUE: Final = Decimal(MAX_VALUE)
_MIN_VALUE: Final = -_MAX_VALUE
MAX_UNITS: Final = 2**31 - 1  # the schema's int32
MAX_CUSTOM_LENGTH: Final = 256
MAX_USER_AGENT: Final = 512
MAX_AMAZON_EVENT_ID: Final = 512
MAX_AD_EVENT_KEY: Final = 512
MAX_TOKENS: Final = 1024

Reader = Callable[[Any], Any]

_TOKENS: Final = re.compile(r"[A-Za-z0-9]{10}\.[0-9]{13}(?:\|[A-Za-z0-9]{10}\.[0-9]{13})*", re.ASCII)
_PLAIN_CUSTOM: Final = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
# An e-mail address anywhere in a text, and a text that is an international phone number.
_EMAIL_SHAPED: Final = re.compile(r"[^\s@]@[^\s@]")
_PHONE_SHAPED: Final = re.compile(r"\s*\+[\d\s().\-/]+", re.ASCII)


def _text(value: Any, reason: str, limit: int) -> SourceFailed | None:
    if type(value) is not str:
        return wrong_type(f"is {json_type(value)}, where a text is expected")
    if len(value) > limit:
        return SourceFailed(reason, f"has more than {limit:,} characters")
    if CONTROL_CHARACTER.search(value):
        return SourceFailed(reason, "contains a control character")
    return None


def read_value(value: Any, *, purchase: bool) -> int | Decimal | SourceFailed:
    """Read money or a score, rounded to hundredths, halves away from zero; purchases are not negative
    (P11).
    """
    if not is_number(value):
        return wrong_type(f"is {json_type(value)}, where a number is expected")
    if purchase and value < 0:
        return SourceFailed("value_invalid", "is negative, which a purchase cannot be")
    if not _MIN_VALUE <= value <= _MAX_VALUE:
        return SourceFailed("value_invalid", "is larger than 10 trillion")
    exact = rounded(value, 2)
    return exact if exact else 0  # avoids minus zero


def is_integral(value: Any) -> bool:
    """Return whether a value, if there is one, has no decimals except zeros."""
    return type(as_integer(value)) is not Decimal


def read_currency(value: Any) -> str | SourceFailed:
    """Read a currency code in either case."""
    if type(value) is not str:
        return wrong_type(f"is {json_type(value)}, where a text is expected")
    code = value.strip(" ").upper() if value.isascii() else ""
    return code if code in CURRENCIES else SourceFailed("currency_invalid", "is not an Amazon currency")


def read_units(value: Any) -> int | SourceFailed:
    """Read a count of units: a whole number without exponent; `2.0` is 2 (P11)."""
    if not is_number(value):
        return wrong_type(f"is {json_type(value)}, where a whole number is expected")
    value = as_integer(value)
    if type(value) is not int or not 1 <= value <= MAX_UNITS:
        return SourceFailed("units_invalid", f"is not a whole number from 1 to {MAX_UNITS:,}")
    return value


def read_amazon_event_id(value: Any) -> str | SourceFailed:
    """Read a mapped eventId. An id that looks like an address, a phone number or a derived id is refused."""
    if failed := _text(value, "amazon_event_id_invalid", MAX_AMAZON_EVENT_ID):
        return failed
    if is_personal_id(value):
        return SourceFailed("amazon_event_id_invalid", "looks like an e-mail address or a phone number")
    if DERIVED_SHAPE.match(value):
        return SourceFailed(
            "amazon_event_id_invalid", "has the format of a derived id: 16 hex digits and a colon"
        )
    return str(value)


def read_ip_address(value: Any) -> str | SourceFailed:
    """Read a public IPv4 or IPv6 address. A private one identifies a network, not a person."""
    if failed := _text(value, "ip_address_invalid", 64):
        return failed
    try:
        address = ipaddress.ip_address(value.strip())
    except ValueError:
        return SourceFailed("ip_address_invalid", "is not an IP address")
    evaluated = getattr(address, "ipv4_mapped", None) or address
    if not evaluated.is_global or evaluated.is_multicast:
        return SourceFailed("ip_address_invalid", "is not a public address")
    return str(address)


def read_user_agent(value: Any) -> str | SourceFailed:
    """Read a user agent."""
    return _text(value, "user_agent_invalid", MAX_USER_AGENT) or str(value)


def read_limited_data_use(value: Any) -> bool | SourceFailed:
    """Read whether Amazon may only store the event."""
    if type(value) is bool:
        return value
    if type(value) is str:
        return SourceFailed("limited_data_use_invalid", "is a text, where true or false is expected")
    return wrong_type(f"is {json_type(value)}, where true or false is expected")


def read_ad_event_key(value: Any) -> str | SourceFailed:
    """Read Amazon's ad event key, which is passed on unchanged."""
    return _text(value, "ad_event_key_invalid", MAX_AD_EVENT_KEY) or str(value)


def read_measurement_tokens(value: Any) -> str | SourceFailed:
    """Read the pairs of token and millisecond of an ad click's `aref` parameter."""
    if failed := _text(value, "measurement_token_invalid", MAX_TOKENS):
        return failed
    if not _TOKENS.fullmatch(value):
        return SourceFailed(
            "measurement_token_invalid", "is not a list of <10 letters or digits>.<13 digits>, separated by |"
        )
    return str(value)


def read_custom(value: Any) -> str | SourceFailed | None:
    """Read a custom value as text.

    Return None for one that looks like an e-mail address or a phone number: it would be sent in clear, so it
    is left out.
    """
    if type(value) is bool:
        return "true" if value else "false"
    if is_number(value):
        text = number_text(value)
    elif type(value) is str:
        text = value
    else:
        return wrong_type(f"is {json_type(value)}, where a text, number or boolean is expected")
    if failed := _text(text, "custom_data_invalid", MAX_CUSTOM_LENGTH):
        return failed
    if "@" in text and _EMAIL_SHAPED.search(text):
        return None
    if "+" in text and type(value) is str and _looks_like_phone(text):
        return None
    return text


def _looks_like_phone(text: str) -> bool:
    return bool(_PHONE_SHAPED.fullmatch(text)) and 8 <= sum(c.isdigit() for c in text) <= 15


def is_plain(custom: Any) -> bool:
    """Return whether all of Amazon's documents allow a custom value.

    Other clients send more than the schema allows, so other values pass with a warning (P10).
    """
    return (
        type(custom) is str
        and len(custom) <= MAX_CUSTOM_LENGTH
        and _PLAIN_CUSTOM.fullmatch(custom) is not None
    )


# Fields whose reader needs only the value.
READERS: Final[Mapping[str, Reader]] = {
    "currency": read_currency,
    "units_sold": read_units,
    "event_id": read_amazon_event_id,
    "ip_address": read_ip_address,
    "user_agent": read_user_agent,
    "limited_data_use": read_limited_data_use,
    "amazon_ad_event_key": read_ad_event_key,
    "aref_measurement_tokens": read_measurement_tokens,
}
