"""Parse the times of events, and format them as Amazon expects.

Source: position P6. A time is ISO 8601: date, `T`, time with optional seconds, and zone. Other forms are
refused, because parsers read them differently: no zone, no time, a space instead of `T`, ordinal and week
dates, leap seconds, offsets beyond fourteen hours, digits outside ASCII.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

EARLY_LIMIT: Final = timedelta(minutes=5)  # a sender's clock may be ahead by this much (P6)

_ISO: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(?::\d\d(?:\.(?P<fraction>\d{1,9}))?)?"
    r"(?:[Zz]|[+-](?:0\d|1[0-3])(?::?[0-5]\d)?|[+-]14(?::?00)?)",
    re.ASCII,
)
# The usual form of a time. A time in this form is sent to Amazon unchanged.
_PLAIN: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Seconds until the year 2286. A recent time in milliseconds, mapped as seconds by mistake, is larger.
_MAX_SECONDS: Final = 10**10


class EventTime(msgspec.Struct, frozen=True, gc=False):
    """A time in UTC, and its RFC 3339 text for Amazon."""

    at: datetime
    text: str


def read_time(text: str) -> EventTime | None:
    """Parse an event time, or return None if it is not ISO 8601 with a zone.

    The text for Amazon has milliseconds only if `text` has a fraction of a second, which is then truncated.
    """
    plain = _PLAIN.fullmatch(text) is not None
    match = None if plain else _ISO.fullmatch(text)
    if not plain and match is None:
        return None
    try:
        at = datetime.fromisoformat(text if text.isupper() else text.upper())
        if at.tzinfo is not UTC:
            at = at.astimezone(UTC)
    except (ValueError, OverflowError):  # such as 30 February, 24:00, a leap second, or before the year 1
        return None
    if match is None:
        return EventTime(at, text)
    return EventTime(at, _iso(at, "seconds" if match["fraction"] is None else "milliseconds"))


def _iso(time: datetime, precision: str) -> str:
    return time.isoformat(timespec=precision).replace("+00:00", "Z")


def from_epoch(number: int | Decimal, *, per_second: int) -> str | None:
    """Format a time since 1970 as RFC 3339, or return None if it is not between 1970 and 2286.

    `per_second` is 1 if `number` is in seconds, and 1,000 if it is in milliseconds. Smaller fractions are
    truncated.
    """
    if not 0 <= number < _MAX_SECONDS * per_second:
        return None
    milliseconds = int(number * (1000 // per_second))
    at = _EPOCH + timedelta(milliseconds=milliseconds)
    return _iso(at, "milliseconds" if milliseconds % 1000 else "seconds")
