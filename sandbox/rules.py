"""All rules of Amazon's contract for one event, as tables that one short function applies.

No I/O; the time is an argument. A refusal contains the rule and the path, never the value, because values may
be personal. Cases that the contract does not define (a repeated match-key type, the length of an `eventId`)
are allowed.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final

from sandbox import vocabulary as words
from sandbox.checks import Check, Event, Refusal, check_object, form, nested, remembered, text, word
from sandbox.vocabulary import Code

MAX_AGE_S: Final = 21 * 86_400
"""Position P6: older events are refused (Amazon's tag template and its guide, 2026)."""
MAX_AHEAD_S: Final = 5 * 60
"""Position P6: a clock may be ahead by five minutes."""
MAX_ERRORS: Final = 20
"""The schema's `maxItems` of one event's error list."""


_HASH = re.compile(r"[0-9a-f]{64}").fullmatch
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII).fullmatch
_NAME_FORBIDS = re.compile(r"[!@#$%^&*|+=(){}\[\]<>?\\/~;\x00-\x1f\x7f]").search
_DATASET = re.compile(r"[A-Za-z][A-Za-z0-9_-]{4,99}").fullmatch
_CUSTOM_NAME = re.compile(r"[A-Za-z0-9_]{1,256}").fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]").search
_INTEGER = re.compile(r"-?\d{1,10}", re.ASCII).fullmatch
_AREF = re.compile(r"[A-Za-z0-9]{10}\.\d{13}(?:\|[A-Za-z0-9]{10}\.\d{13})*", re.ASCII).fullmatch
# Version 2 of a TCF string begins with the six bits 000010, which is C in base64url.
_TCF = re.compile(r"C[A-Za-z0-9_-]{9,}(?:\.[A-Za-z0-9_-]+)*").fullmatch
_GPP = re.compile(r"[A-Za-z0-9_.-]+(?:~[A-Za-z0-9_.-]+)*").fullmatch
# A full IP address has a separate check.
_PLAIN_RAW_KEYS: Final = words.RAW_KEYS - {"FIP"}


def judge(event: Any, *, region: str, now: float) -> list[Refusal]:
    """Return the reasons to refuse `event`, at most twenty; an empty list means accepted.

    `event` is the decoded JSON of one list member, `region` one of NA, EU, FE, `now` seconds since 1970.
    """
    refusals: list[Refusal] = []
    if type(event) is not dict:
        return [Refusal(Code.BAD_REQUEST, "An event must be a JSON object.", "")]
    description = event.get("eventDescription")
    kind = description.get("conversionType") if type(description) is dict else None
    known = type(kind) is str and kind in words.CONVERSION_TYPES
    purchase = kind == words.PURCHASES if known else None
    check_object(event, _EVENT, _EVENT_REQUIRED, Event(purchase, now, refusals), "")
    if not _consent_given(event.get("consent")):
        country = event.get("countryCode")
        if region == "EU":
            refusals.append(Refusal(Code.EMPTY, "An EU advertiser's event must have consent.", "consent"))
        elif type(country) is str and country in words.CONSENT_COUNTRIES:
            refusals.append(Refusal(Code.EMPTY, "This country's events must have consent.", "consent"))
    return refusals[:MAX_ERRORS]


def excluded(event: Mapping[str, Any]) -> bool:
    """Return whether Amazon does not use an accepted `event`: consent is denied, or data use is limited."""
    consent = event.get("consent")
    signal = consent.get("amazonConsent", {}) if consent else {}
    return bool(event.get("dataProcessingOptions")) or "DENIED" in signal.values()


def _consent_given(consent: Any) -> bool:
    # Position P7: an IP address may be sent but does not count as consent.
    return type(consent) is dict and ("amazonConsent" in consent or "tcf" in consent or "gpp" in consent)


def _event_name(value: Any, event: Event, where: str) -> None:
    # Position P13, from Amazon's tag template.
    if type(value) is not str:
        event.refuse(Code.INVALID, "Must be a string.", where)
    elif not value.strip():
        event.refuse(Code.EMPTY, "An event name has 1 to 256 characters.", where)
    elif len(value) > 256:
        event.refuse(Code.TOO_LARGE, "An event name has 1 to 256 characters.", where)
    elif _NAME_FORBIDS(value):
        event.refuse(Code.BAD_CHARACTERS, "An event name has none of these characters.", where)


def _event_time(value: Any, event: Event, where: str) -> None:
    if type(value) is not str or not _TIME(value):
        event.refuse(Code.BAD_REQUEST, "Must be an RFC 3339 date-time with a zone.", where)
        return
    try:
        age = event.now - datetime.fromisoformat(value.upper()).timestamp()
    except (ValueError, OverflowError):
        event.refuse(Code.BAD_REQUEST, "The date or time does not exist.", where)
        return
    if age > MAX_AGE_S:
        event.refuse(Code.BELOW_MINIMUM, "Older than 21 days.", where)
    elif age < -MAX_AHEAD_S:
        event.refuse(Code.ABOVE_MAXIMUM, "More than 5 minutes in the future.", where)


def _value(value: Any, event: Event, where: str) -> None:
    if type(value) is not float and type(value) is not int:
        event.refuse(Code.INVALID, "Must be a number.", where)
    elif type(value) is int and abs(value) >= 1 << 1024:
        event.refuse(Code.INVALID, "Does not fit into a double.", where)
    elif round(value, 2) != value:
        event.refuse(Code.INVALID, "At most two decimals.", where)
    elif event.purchase and value < 0:
        event.refuse(Code.BELOW_MINIMUM, "A purchase's value is not negative.", where)


def _currency(value: Any, event: Event, where: str) -> None:
    if event.purchase is False:
        event.refuse(Code.MUST_BE_EMPTY, "Only a purchase has a currency.", where)
    _known_currency(value, event, where)


def _units(value: Any, event: Event, where: str) -> None:
    if event.purchase is False:
        event.refuse(Code.MUST_BE_EMPTY, "Only a purchase has units.", where)
    if type(value) is not int:
        event.refuse(Code.INVALID, "Must be a whole number.", where)
    elif value < 1:
        event.refuse(Code.BELOW_MINIMUM, "Must be at least 1.", where)
    elif value > 2_147_483_647:
        event.refuse(Code.ABOVE_MAXIMUM, "Must fit into 32 bits.", where)


def _match_keys(value: Any, event: Event, where: str) -> None:
    if type(value) is not list:
        event.refuse(Code.INVALID, "Must be a list.", where)
        return
    if not value:
        event.refuse(Code.TOO_SMALL, "At least one match key.", where)
    elif len(value) > 15:
        event.refuse(Code.TOO_LARGE, "At most 15 match keys.", where)
        return
    for place, key in enumerate(value):
        if not _plain_match_key(key):
            _match_key(key, event, f"{where}[{place}]")


def _plain_match_key(key: Any) -> bool:
    """Accept an ordinary valid key without building paths: the fast path for most events."""
    if type(key) is not dict or len(key) != 2:
        return False
    kind, values = key.get("type"), key.get("values")
    if type(kind) is not str or type(values) is not list or len(values) != 1:
        return False
    content = values[0]
    if type(content) is not str:
        return False
    if kind in words.HASHED_KEYS:
        return _HASH(content) is not None
    return (
        kind in _PLAIN_RAW_KEYS
        and content.isascii()
        and content.isprintable()
        and not content.isspace()
        and content != ""
    )


def _match_key(key: Any, event: Event, where: str) -> None:
    check_object(key, _MATCH_KEY, _MATCH_KEY_REQUIRED, event, where)
    if type(key) is not dict:
        return
    kind, values = key.get("type"), key.get("values")
    if type(kind) is not str or type(values) is not list or len(values) != 1:
        return
    content, place = values[0], f"{where}.values[0]"
    if type(content) is not str:
        event.refuse(Code.INVALID, "Must be a string.", place)
    elif kind in words.HASHED_KEYS:
        if not _HASH(content):
            event.refuse(Code.INVALID, "Must be SHA-256 in lower-case hex.", place)
    elif kind in words.RAW_KEYS:
        if not content.strip():
            event.refuse(Code.EMPTY, "Must not be empty.", place)
        elif _CONTROL(content):
            event.refuse(Code.BAD_CHARACTERS, "Must not contain control characters.", place)
        elif kind == "FIP" and not _is_ip(content):
            event.refuse(Code.INVALID, "Must be a full IPv4 or IPv6 address.", place)


def _one_value(value: Any, event: Event, where: str) -> None:
    if type(value) is not list:
        event.refuse(Code.INVALID, "Must be a list.", where)
    elif len(value) != 1:
        event.refuse(Code.WRONG_SIZE, "Exactly one value per match key.", where)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # a zone index is only meaningful on one machine


def _custom_list(value: Any, event: Event, where: str) -> None:
    if type(value) is not list:
        event.refuse(Code.INVALID, "Must be a list.", where)
    elif len(value) > 13:
        event.refuse(Code.TOO_LARGE, "At most 13 custom fields.", where)
    else:
        for place, item in enumerate(value):
            _custom(item, event, f"{where}[{place}]")


def _custom(item: Any, event: Event, where: str) -> None:
    check_object(item, _CUSTOM, _CUSTOM_REQUIRED, event, where)
    if type(item) is not dict:
        return
    kind, value = item.get("dataType", "STRING"), item.get("value")
    if type(value) is not str or kind == "STRING":
        return
    if kind == "INTEGER" and not (_INTEGER(value) and -(2**31) <= int(value) < 2**31):
        event.refuse(Code.INVALID, "Not a 32-bit integer, as its dataType says.", f"{where}.value")
    elif kind == "TIMESTAMP" and not _is_time(value):
        event.refuse(Code.INVALID, "Not a date-time, as its dataType says.", f"{where}.value")


def _is_time(text: str) -> bool:
    try:
        return bool(_TIME(text) and datetime.fromisoformat(text.upper()).astimezone(UTC))
    except (ValueError, OverflowError):
        return False


def _custom_value(value: Any, event: Event, where: str) -> None:
    # Position P10: text up to 256 characters; characters outside [A-Za-z0-9_] pass, because sources differ.
    if type(value) is not str:
        event.refuse(Code.INVALID, "Must be a string.", where)
    elif len(value) > 256:
        event.refuse(Code.TOO_LARGE, "At most 256 characters.", where)
    elif _CONTROL(value):
        event.refuse(Code.BAD_CHARACTERS, "Must not contain control characters.", where)


def _user_agent(value: Any, event: Event, where: str) -> None:
    text(value, event, where)
    if type(value) is str and len(value) > 512:
        event.refuse(Code.TOO_LARGE, "At most 512 characters.", where)


_known_currency: Final[Check] = word(words.CURRENCIES)

_MATCH_KEY: Final[Mapping[str, Check]] = {
    "type": word(words.HASHED_KEYS | words.RAW_KEYS),
    "values": _one_value,
}
_MATCH_KEY_REQUIRED: Final = frozenset({"type", "values"})

_CUSTOM: Final[Mapping[str, Check]] = {
    "name": form(_CUSTOM_NAME, "A custom name is 1 to 256 letters, digits and underscores."),
    "value": _custom_value,
    "dataType": word(words.CUSTOM_TYPES),
}
_CUSTOM_REQUIRED: Final = frozenset({"name", "value"})

_DESCRIPTION: Final[Mapping[str, Check]] = {
    "name": _event_name,
    "conversionType": word(words.CONVERSION_TYPES),
    "eventSource": word(words.EVENT_SOURCES),
    "eventIngestionMethod": word(words.INGESTION_METHODS),
    "dataSetName": form(_DATASET, "A dataset name is 5 to 100 letters, digits, _ and -, a letter first."),
}

_CONSENT: Final[Mapping[str, Check]] = {
    "geo": nested({"ipAddress": form(_is_ip, "Must be an IPv4 or IPv6 address.")}, frozenset({"ipAddress"})),
    "amazonConsent": remembered(
        nested(
            {"amznUserData": word(words.CONSENT_STATUSES), "amznAdStorage": word(words.CONSENT_STATUSES)},
            frozenset({"amznUserData"}),
        )
    ),
    "tcf": form(_TCF, "Not a TCF string of version 2."),
    "gpp": form(_GPP, "Not a GPP string."),
}

_EVENT: Final[Mapping[str, Check]] = {
    "eventDescription": remembered(
        nested(_DESCRIPTION, frozenset({"name", "conversionType", "eventSource", "eventIngestionMethod"}))
    ),
    "countryCode": word(words.COUNTRIES),
    "eventTime": _event_time,
    "matchKeys": _match_keys,
    "value": _value,
    "currencyCode": _currency,
    "unitsSold": _units,
    "eventId": text,
    "consent": nested(_CONSENT, frozenset()),
    "dataProcessingOptions": nested({"options": word(words.PROCESSING_OPTIONS)}, frozenset()),
    "customData": _custom_list,
    "deviceInfo": nested({"userAgent": _user_agent}, frozenset()),
    "arefMeasurementTokens": form(_AREF, "Must be pairs of token.milliseconds joined by |."),
    "amazonAdEventKey": text,
    "partner": text,
}
_EVENT_REQUIRED: Final = frozenset({"eventDescription", "countryCode", "eventTime", "matchKeys"})
