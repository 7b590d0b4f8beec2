"""Amazon's words, made fit to keep: bounded, printable, and without anything of a person's.

Amazon may echo the event it complains about. An event carries raw ids (MAID, RAMP_ID, an IP address) and
custom data, and its hashes are still personal data. So a message is kept only after all that may be an
echo was taken out, first by value (what was sent is known exactly), then by shape (for what was changed on
the way).
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

MAX_MESSAGE = 300
_READ_AT_MOST = 1_000  # keeps the patterns below cheap whatever Amazon writes, as does _LONG
_GONE = "***"

# What may stand between quotes, being a word of Amazon's schema and not a value of the event's (contract §2).
_WORDS = (
    "events eventDescription name conversionType eventSource eventIngestionMethod dataSetName "
    "countryCode eventTime matchKeys type values value currencyCode unitsSold eventId consent geo "
    "ipAddress amazonConsent amznUserData amznAdStorage tcf gpp dataProcessingOptions options "
    "customData dataType deviceInfo userAgent arefMeasurementTokens amazonAdEventKey partner dataSetId "
    "SERVER_TO_SERVER GRANTED DENIED LIMITED_DATA_USE STRING INTEGER TIMESTAMP ADD_TO_SHOPPING_CART "
    "APPLICATION CHECKOUT CONTACT LEAD MOBILE_APP_FIRST_START OFF_AMAZON_PURCHASES OTHER PAGE_VIEW "
    "SEARCH SIGN_UP SUBSCRIBE ANDROID FIRE_TV IOS MEASUREMENT_ATTRIBUTION_PARTNER OFFLINE WEBSITE EMAIL "
    "PHONE FIRST_NAME LAST_NAME ADDRESS CITY STATE POSTAL MAID RAMP_ID MATCH_ID REAL_ID MERKLE_ID "
    "KANTAR_ID FIP null true false "
)
SCHEMA_WORDS = frozenset(_WORDS.split())

# Control, format, surrogate and separator characters: they forge log lines and hide text.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]+"
)
_SPACES = re.compile(r"\s+")

# A piece of the event's JSON, to its last bracket or, cut off, to the end.
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
# No word of Amazon's is as long; a path in the event is the longest.
_LONG = re.compile(r"\S{100,}")
# Shapes that a value may take outside quotes.
_SHAPES = tuple(
    re.compile(pattern)
    for pattern in (
        r"\S*@\S*",  # an e-mail address
        r"Atz[a-z]\|\S*",  # an Amazon token
        r"(?i:bearer)\s+\S+",
        r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",  # a MAID
        r"[0-9A-Fa-f]{24,}",  # a digest, whole or cut
        r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,}[0-9A-Fa-f.]*",  # an IPv6 address
        r"\+?\d(?:[\s().+/-]{0,3}\d){5,}",  # a phone number, an IPv4 address, any long number
        r"\d{1,3}(?:\.\d{1,3}){3}",  # a short IPv4 address
        r"(?=\S*\d)(?=\S*[A-Za-z])[A-Za-z0-9_+/=-]{16,}",  # an opaque id: long, letters and digits mixed
    )
)
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,79}", re.ASCII)
_PLACE = re.compile(r"[$./A-Za-z0-9_\[\]-]{1,200}", re.ASCII)


def scrub(text: object, *, sent: Collection[str] = (), limit: int = MAX_MESSAGE) -> str:
    """Return Amazon's sentence without what may be the event's, at most `limit` characters; "" for no text.

    `sent` are the values that went out (`values_sent`); each is taken out wherever it stands.
    """
    if not isinstance(text, str):
        return ""
    clean = _SPACES.sub(" ", _UNPRINTABLE.sub(" ", _cut(text))).strip()
    clean = _JSON.sub(_GONE, _without(clean, sent))
    for quoted in _QUOTED:
        clean = quoted.sub(lambda found: found[0] if found[1] in SCHEMA_WORDS else _GONE, clean)
    clean = _LONG.sub(_GONE, clean)
    for shape in _SHAPES:
        clean = shape.sub(_GONE, clean)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def error_code(text: object, *, otherwise: str) -> str:
    """Return Amazon's error code, or `otherwise` where it does not look like one."""
    if isinstance(text, str) and _CODE.fullmatch(text) and scrub(text) == text:
        return text
    return otherwise


def field_path(text: object, *, sent: Collection[str] = ()) -> str | None:
    """Return where in the event Amazon points to, or None where it does not look like a place."""
    if isinstance(text, str) and _PLACE.fullmatch(text) and scrub(text, sent=sent) == text:
        return text
    return None


def values_sent(events: Iterable[Any]) -> frozenset[str]:
    """Return every value of these events that may be a person's or the caller's: never to be repeated."""
    return frozenset(value for event in events for value in _leaves(_personal(event)) if value)


def _personal(event: Any) -> Any:
    """Return the members of an event that hold values of a person's or the caller's (contract §2.1)."""
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


def _cut(text: str) -> str:
    """Return the beginning, without the word that was cut: half an address no longer looks like one."""
    return text if len(text) <= _READ_AT_MOST else text[:_READ_AT_MOST].rpartition(" ")[0]


def _without(text: str, sent: Collection[str]) -> str:
    """Take each sent value out: a short one only as a word of its own, or every 'a' would go."""
    lowered = text.lower()
    for value in sorted(sent, key=len, reverse=True):
        spoken = _SPACES.sub(" ", _UNPRINTABLE.sub(" ", value)).strip().lower()
        if not spoken or spoken not in lowered:
            continue
        pattern = re.escape(spoken) if len(spoken) >= 6 else rf"(?<!\w){re.escape(spoken)}(?!\w)"
        text = re.sub(pattern, _GONE, text, flags=re.IGNORECASE)
        lowered = text.lower()
    return text
