"""Redact Amazon's messages before they are stored: bounded, printable, without personal data.

Amazon may echo the event that it rejects. Events contain raw ids (MAID, RAMP_ID, an IP address) and custom
data, and hashes are personal data too. So every possible echo is removed: first the values that were sent,
then text that looks like such a value, because Amazon may have changed it.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES
from app.domain.identity import MatchKeyType

MAX_MESSAGE = 300
_MAX_INPUT = 1_000  # limits the cost of the patterns below, like _LONG
_REDACTED = "***"

# Words of Amazon's schema, which are kept between quotes: they are not values of an event (contract §2).
_WORDS = (
    "events eventDescription name conversionType eventSource eventIngestionMethod dataSetName "
    "countryCode eventTime matchKeys type values value currencyCode unitsSold eventId consent geo "
    "ipAddress amazonConsent amznUserData amznAdStorage tcf gpp dataProcessingOptions options "
    "customData dataType deviceInfo userAgent arefMeasurementTokens amazonAdEventKey partner dataSetId "
    "SERVER_TO_SERVER GRANTED DENIED LIMITED_DATA_USE STRING INTEGER TIMESTAMP null true false"
)
SCHEMA_WORDS = frozenset(_WORDS.split()) | EVENT_TYPES.keys() | EVENT_SOURCES.keys() | set(MatchKeyType)

# Control, format, surrogate and separator characters: they can forge log lines and hide text.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]+"
)
_SPACES = re.compile(r"\s+")

# A part of the event's JSON, up to its last bracket, or to the end if it is truncated.
_JSON = re.compile(r"(?:\{|\[(?=\s*[\"{\[]))(?:.*[}\]]|.*)")
_QUOTED = tuple(
    re.compile(pattern)
    for pattern in (
        r'"([^"]*)(?:"|$)',
        r"`([^`]*)(?:`|$)",
        r"«([^»]*)(?:»|$)",
        r"“([^”]*)(?:”|$)",
        r"(?<!\w)'(.*?)(?:'(?!\w)|$)",
        r"‘(.*?)(?:’(?!\w)|$)",
    )
)
# Longer than any word of Amazon's messages; the longest is a path in the event.
_LONG = re.compile(r"\S{100,}")
# Patterns of values outside quotes.
_SHAPES = tuple(
    re.compile(pattern)
    for pattern in (
        r"\S*@\S*",  # an e-mail address
        r"Atz[a-z]\|\S*",  # an Amazon token
        r"(?i:bearer)\s+\S+",
        r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",  # a MAID
        r"[0-9A-Fa-f]{24,}",  # a digest, complete or truncated
        r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,}[0-9A-Fa-f.]*",  # an IPv6 address
        r"\+?\d(?:[\s().+/-]{0,3}\d){5,}",  # a phone number, an IPv4 address, any long number
        r"\d{1,3}(?:\.\d{1,3}){3}",  # a short IPv4 address
        r"(?=\S*\d)(?=\S*[A-Za-z])[A-Za-z0-9_+/=-]{16,}",  # an opaque id: long, letters and digits mixed
    )
)
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,79}", re.ASCII)
_PATH = re.compile(r"[$./A-Za-z0-9_\[\]-]{1,200}", re.ASCII)


def scrub(text: object, *, sent: Collection[str] = (), limit: int = MAX_MESSAGE) -> str:
    """Return Amazon's message without values of the event, at most `limit` characters; "" for no text.

    `sent` are the values of the request (`values_sent`); all their occurrences are removed.
    """
    if not isinstance(text, str):
        return ""
    clean = _SPACES.sub(" ", _UNPRINTABLE.sub(" ", _truncate(text))).strip()
    clean = _JSON.sub(_REDACTED, _remove_values(clean, sent))
    for quoted in _QUOTED:
        clean = quoted.sub(lambda match: match[0] if match[1] in SCHEMA_WORDS else _REDACTED, clean)
    clean = _LONG.sub(_REDACTED, clean)
    for shape in _SHAPES:
        clean = shape.sub(_REDACTED, clean)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def error_code(text: object, *, default: str) -> str:
    """Return Amazon's error code, or `default` if the text is not a code."""
    if isinstance(text, str) and _CODE.fullmatch(text) and scrub(text) == text:
        return text
    return default


def field_path(text: object, *, sent: Collection[str] = ()) -> str | None:
    """Return Amazon's path in the event, or None if the text is not a path."""
    if isinstance(text, str) and _PATH.fullmatch(text) and scrub(text, sent=sent) == text:
        return text
    return None


def values_sent(events: Iterable[Any]) -> frozenset[str]:
    """Return every value of these events that may be personal or the caller's data."""
    return frozenset(value for event in events for value in _leaves(_personal(event)) if value)


def _personal(event: Any) -> Any:
    """Return the members of an event with personal or the caller's data (contract §2.1)."""
    if not isinstance(event, dict):
        return []
    members = ("eventId", "consent", "deviceInfo", "arefMeasurementTokens", "amazonAdEventKey")
    keys = [key.get("values") for key in _objects(event.get("matchKeys"))]
    custom = [row.get("value") for row in _objects(event.get("customData"))]
    return [keys, custom, [event.get(member) for member in members]]


def _objects(rows: Any) -> list[dict[str, Any]]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _leaves(node: Any) -> Iterator[str]:
    match node:
        case str():
            if node not in SCHEMA_WORDS:
                yield node
        case dict():
            for child in node.values():
                yield from _leaves(child)
        case list():
            for child in node:
                yield from _leaves(child)
        case _:
            return


def _truncate(text: str) -> str:
    """Truncate a text before its last word: half an address would no longer match the patterns."""
    return text if len(text) <= _MAX_INPUT else text[:_MAX_INPUT].rpartition(" ")[0]


def _remove_values(text: str, sent: Collection[str]) -> str:
    """Remove each sent value; a short value only as a separate word, or every 'a' would be removed."""
    lowered = text.lower()
    for value in sorted(sent, key=len, reverse=True):
        printable = _SPACES.sub(" ", _UNPRINTABLE.sub(" ", value)).strip().lower()
        if not printable or printable not in lowered:
            continue
        pattern = re.escape(printable) if len(printable) >= 6 else rf"(?<!\w){re.escape(printable)}(?!\w)"
        text = re.sub(pattern, _REDACTED, text, flags=re.IGNORECASE)
        lowered = text.lower()
    return text
