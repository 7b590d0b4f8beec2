"""Read the fields of an event except match keys.

Each reader takes a JSON value that is neither null nor blank. It returns the value for Amazon, or
`SourceFailed`. Sources: P10, P11 and the notes on Amazon's schema.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion.currencies import CURRENCIES
from app.domain.conversion.failures import SourceFailed, wrong_type
from app.domain.conversion.numbers import as_integer, is_number, number_text, rounded
from app.domain.event import CONTROL_CHARACTER, DERIVED_SHAPE
from app.domain.personal_text import is_personal_id

MAX_VALUE: Final = 10**13  # a double represents every hundredth up to this value
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
# `_EMAIL_SHAPED` is searched for in a text; `_PHONE_SHAPED` must match the complete text.
_EMAIL_SHAPED: Final = re.compile(r"[^\s@]@[^\s@]")
_PHONE_SHAPED: Final = re.compile(r"\s*\+[\d\s().\-/]+", re.ASCII)


def _text_problem(value: Any, reason: str, limit: int) -> SourceFailed | None:
    if type(value) is not str:
        return wrong_type(value, "a text is expected")
    if len(value) > limit:
        return SourceFailed(reason, f"has more than {limit:,} characters")
    if CONTROL_CHARACTER.search(value):
        return SourceFailed(reason, "contains a control character")
    return None


def read_value(value: Any, *, purchase: bool) -> int | Decimal | SourceFailed:
    """Read an amount of money or a score, rounded to hundredths. A purchase must not be negative (P11)."""
    if not is_number(value):
        return wrong_type(value, "a number is expected")
    if purchase and value < 0:
        return SourceFailed("value_invalid", "is negative, which a purchase cannot be")
    if not _MIN_VALUE <= value <= _MAX_VALUE:
        return SourceFailed("value_invalid", "is larger than 10 trillion")
    exact = rounded(value, 2)
    return exact if exact else 0  # avoids minus zero


def is_integral(value: Any) -> bool:
    """Return False for a number with decimals other than zero, else True."""
    return type(as_integer(value)) is not Decimal


def read_currency(value: Any) -> str | SourceFailed:
    """Read a currency code in either case."""
    if type(value) is not str:
        return wrong_type(value, "a text is expected")
    code = value.strip(" ").upper() if value.isascii() else ""
    return code if code in CURRENCIES else SourceFailed("currency_invalid", "is not an Amazon currency")


def read_units(value: Any) -> int | SourceFailed:
    """Read the number of units: a whole number without exponent, where `2.0` counts as 2 (P11)."""
    if not is_number(value):
        return wrong_type(value, "a whole number is expected")
    value = as_integer(value)
    if type(value) is not int or not 1 <= value <= MAX_UNITS:
        return SourceFailed("units_invalid", f"is not a whole number from 1 to {MAX_UNITS:,}")
    return value


def read_amazon_event_id(value: Any) -> str | SourceFailed:
    """Read the eventId for Amazon. Refuse an e-mail address, a phone number, and the form of a derived id."""
    if failed := _text_problem(value, "amazon_event_id_invalid", MAX_AMAZON_EVENT_ID):
        return failed
    if is_personal_id(value):
        return SourceFailed("amazon_event_id_invalid", "looks like an e-mail address or a phone number")
    if DERIVED_SHAPE.match(value):
        return SourceFailed(
            "amazon_event_id_invalid", "has the format of a derived id: 16 hex digits and a colon"
        )
    return str(value)


def read_ip_address(value: Any) -> str | SourceFailed:
    """Read a public IPv4 or IPv6 address. A private address identifies nobody."""
    if failed := _text_problem(value, "ip_address_invalid", 64):
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
    return _text_problem(value, "user_agent_invalid", MAX_USER_AGENT) or str(value)


def read_limited_data_use(value: Any) -> bool | SourceFailed:
    """Read whether Amazon must process the event with limited data use."""
    if type(value) is bool:
        return value
    if type(value) is str:
        return SourceFailed("limited_data_use_invalid", "is a text, where true or false is expected")
    return wrong_type(value, "true or false is expected")


def read_ad_event_key(value: Any) -> str | SourceFailed:
    return _text_problem(value, "ad_event_key_invalid", MAX_AD_EVENT_KEY) or str(value)


def read_measurement_tokens(value: Any) -> str | SourceFailed:
    """Read the `aref` parameter of ad clicks: `<token>.<milliseconds>`, separated by `|`."""
    if failed := _text_problem(value, "measurement_token_invalid", MAX_TOKENS):
        return failed
    if not _TOKENS.fullmatch(value):
        return SourceFailed(
            "measurement_token_invalid", "is not a list of <10 letters or digits>.<13 digits>, separated by |"
        )
    return str(value)


def read_custom(value: Any) -> str | SourceFailed | None:
    """Read a custom value as text; None if it looks like an e-mail address or a phone number.

    Custom values are sent in clear, so the caller must omit such a value.
    """
    if type(value) is bool:
        return "true" if value else "false"
    if is_number(value):
        text = number_text(value)
    elif type(value) is str:
        text = value
    else:
        return wrong_type(value, "a text, number or boolean is expected")
    if failed := _text_problem(text, "custom_data_invalid", MAX_CUSTOM_LENGTH):
        return failed
    if "@" in text and _EMAIL_SHAPED.search(text):
        return None
    if "+" in text and type(value) is str and _looks_like_phone(text):
        return None
    return text


def _looks_like_phone(text: str) -> bool:
    return bool(_PHONE_SHAPED.fullmatch(text)) and 8 <= sum(c.isdigit() for c in text) <= 15


def is_plain(custom: Any) -> bool:
    """Return whether a custom value conforms to all of Amazon's documents.

    Amazon seems to accept more: other clients send it. Other values therefore pass with a warning (P10).
    """
    return (
        type(custom) is str
        and len(custom) <= MAX_CUSTOM_LENGTH
        and _PLAIN_CUSTOM.fullmatch(custom) is not None
    )


# All fields except `value`, whose reader also needs to know whether the event is a purchase.
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
