"""Event times: parsed strictly, formatted as Amazon expects.

Source: position P6. ISO 8601 with a zone, complete date and time joined by `T`; seconds are optional.
Refused, because parsers disagree about them: a missing zone, a date without time, a space, ordinal and week
dates, a leap second, an offset beyond fourteen hours, digits that are not ASCII.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

EARLY_LIMIT: Final = timedelta(minutes=5)  # permitted lead of a sender's clock (P6)

_ISO: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(?::\d\d(?:\.(?P<fraction>\d{1,9}))?)?"
    r"(?:[Zz]|[+-](?:0\d|1[0-3])(?::?[0-5]\d)?|[+-]14(?::?00)?)",
    re.ASCII,
)
# The usual form, also sent to Amazon.
_PLAIN: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# An epoch in the wrong unit falls outside: both units end in the year 2286.
_MAX_SECONDS: Final = 10**10


class EventTime(msgspec.Struct, frozen=True, gc=False):
    """An instant and its RFC 3339 text in UTC, with milliseconds only if the event had a fraction."""

    at: datetime
    text: str


def read_time(text: str) -> EventTime | None:
    """Parse an event time; None if it is not ISO 8601 with a zone. Fractions are truncated to
    milliseconds.
    """
    plain = _PLAIN.fullmatch(text) is not None
    match = None if plain else _ISO.fullmatch(text)
    if not plain and match is None:
        return None
    try:
        at = datetime.fromisoformat(text if text.isupper() else text.upper())
        if at.tzinfo is not UTC:
            at = at.astimezone(UTC)
    except (ValueError, OverflowError):  # the 30th of February, 24:00, a leap second, before the year 1
        return None
    if match is None:
        return EventTime(at, text)
    return EventTime(at, _iso(at, "seconds" if match["fraction"] is None else "milliseconds"))


def _iso(time: datetime, precision: str) -> str:
    return time.isoformat(timespec=precision).replace("+00:00", "Z")


def from_epoch(number: int | Decimal, *, per_second: int) -> str | None:
    """Format an epoch as RFC 3339 text; None if it is outside 1970 to 2286 in that unit.

    `per_second` is 1 for seconds and 1,000 for milliseconds. Parts of a millisecond are truncated.
    """
    if not 0 <= number < _MAX_SECONDS * per_second:
        return None
    milliseconds = int(number * (1000 // per_second))
    at = _EPOCH + timedelta(milliseconds=milliseconds)
    return _iso(at, "milliseconds" if milliseconds % 1000 else "seconds")
