"""Read Amazon's JSON, and redact its messages before they are stored: short, printable, not personal.

Amazon may echo the event that it rejects. An event contains ids (MAID, RAMP_ID, an IP address), hashes and
custom data, and all of these may be personal. `scrub` first removes the values that were sent. Amazon may
have changed a value, so `scrub` then removes every text that looks like a value.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from app.domain.conversion.amazon_codes import EVENT_SOURCES, EVENT_TYPES
from app.domain.strict_json import MalformedJson, parse

MAX_MESSAGE = 300
_MAX_DEPTH = 32  # the contract's deepest reply has nine levels
_MAX_INPUT = 1_000  # limits the cost of the patterns below
_REDACTED = "***"

# Words of Amazon's schema (contract §2). They are never values of an event, so quoted words stay in a
# message. They stand here and not only in the conversion, which a worker does not import.
_WORDS = (
    "events eventDescription name conversionType eventSource eventIngestionMethod dataSetName "
    "eventId eventTime value currencyCode countryCode unitsSold dataProcessingOptions deviceInfo "
    "arefMeasurementTokens amazonAdEventKey "
    "matchKeys type values consent geo ipAddress amazonConsent amznUserData amznAdStorage tcf gpp options "
    "customData dataType userAgent partner dataSetId "
    "EMAIL PHONE FIRST_NAME LAST_NAME ADDRESS CITY STATE POSTAL "
    "MAID RAMP_ID MATCH_ID REAL_ID MERKLE_ID KANTAR_ID FIP "
    "SERVER_TO_SERVER GRANTED DENIED LIMITED_DATA_USE STRING INTEGER TIMESTAMP null true false"
)
SCHEMA_WORDS = frozenset(_WORDS.split()) | EVENT_TYPES.keys() | EVENT_SOURCES.keys()

# Control, format, surrogate and separator characters. They can forge log lines and hide text.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]+"
)
_SPACES = re.compile(r"\s+")

# The JSON of an event in a message: from the first bracket to the last. If the message is truncated, the JSON
# ends with the text.
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
# A word of this length is a value: the longest word of Amazon's own messages, a path in the event, is
# shorter.
_LONG = re.compile(r"\S{100,}")
# Patterns of personal or secret values that are not in quotes.
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
_DIGEST = re.compile(r"[0-9A-Fa-f]{32,}", re.ASCII)
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,79}", re.ASCII)
_PATH = re.compile(r"[$./A-Za-z0-9_\[\]-]{1,200}", re.ASCII)


def read_json(body: bytes) -> Any:
    """Return the value of a JSON text. Return None for `null` and for a text that is not strict JSON."""
    value = parse(body, max_depth=_MAX_DEPTH)
    return None if isinstance(value, MalformedJson) else value


def objects(rows: Any) -> list[dict[str, Any]]:
    """Return the items of a list that are objects. Return an empty list if the value is not a list."""
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def scrub(text: object, *, sent: Collection[str] = (), limit: int = MAX_MESSAGE) -> str:
    """Return Amazon's message, redacted and cut to `limit` characters. Return "" if `text` is not a string.

    `sent` contains the values of the request, as `values_sent` returns them. Each occurrence is removed.
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
    """Return Amazon's error code, or `default` if the text does not have the form of a code."""
    if isinstance(text, str) and _CODE.fullmatch(text) and scrub(text) == text:
        return text
    return default


def field_path(text: object, *, sent: Collection[str] = ()) -> str | None:
    """Return the path of a field, as Amazon writes it.

    Return None if the text does not have the form of a path.
    """
    if isinstance(text, str) and _PATH.fullmatch(text) and scrub(text, sent=sent) == text:
        return text
    return None


def values_sent(events: Iterable[Any]) -> frozenset[str]:
    """Return all values of these events that may be personal or that belong to the caller."""
    return frozenset(value for event in events for value in _leaves(_personal(event)) if value)


def cut_values(event: Any) -> Any:
    """Return an event without the values that `values_sent` names. The first digits of a digest stay."""
    sent = values_sent([event])

    def cut(node: Any) -> Any:
        match node:
            case str() if node in sent:
                return f"{node[:6]}…" if _DIGEST.fullmatch(node) else _REDACTED
            case dict():
                return {name: cut(child) for name, child in node.items()}
            case list():
                return [cut(child) for child in node]
            case _:
                return node

    return cut(event)


def _personal(event: Any) -> Any:
    """Return the members of an event whose values are personal or belong to the caller (contract §2.1)."""
    if not isinstance(event, dict):
        return []
    members = ("eventId", "consent", "deviceInfo", "arefMeasurementTokens", "amazonAdEventKey")
    keys = [key.get("values") for key in objects(event.get("matchKeys"))]
    custom = [row.get("value") for row in objects(event.get("customData"))]
    return [keys, custom, [event.get(member) for member in members]]


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
    """Cut a long text between two words.

    A cut inside an e-mail address would leave a part that no pattern matches.
    """
    return text if len(text) <= _MAX_INPUT else text[:_MAX_INPUT].rpartition(" ")[0]


def _remove_values(text: str, sent: Collection[str]) -> str:
    """Remove each sent value from a text. A short value is removed only where it is a separate word."""
    folded = text.casefold()
    for value in sorted(sent, key=len, reverse=True):
        printable = _SPACES.sub(" ", _UNPRINTABLE.sub(" ", value)).strip()
        if not printable or printable.casefold() not in folded:
            continue
        # Some letters, such as ß and İ, have more characters in another case, which IGNORECASE does not know.
        spellings = {printable, printable.lower(), printable.upper(), printable.casefold()}
        pattern = "|".join(map(re.escape, sorted(spellings, key=len, reverse=True)))
        pattern = f"(?:{pattern})" if len(printable) >= 6 else rf"(?<!\w)(?:{pattern})(?!\w)"
        text = re.sub(pattern, _REDACTED, text, flags=re.IGNORECASE)
        folded = text.casefold()
    return text
