"""Parse the times of events, and format them as Amazon expects.

Sources: interface §4.3, position P6. Every form that has one meaning is read. Other forms are refused,
because parsers read them differently: no zone, no time, a zone's name, ordinal and week dates, leap seconds,
offsets beyond fourteen hours, digits outside ASCII.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from app.domain.conversion.numbers import as_integer

EARLY_LIMIT: Final = timedelta(minutes=5)  # a sender's clock may be ahead by this much (P6)

_OFFSET: Final = r"[+-](?:0\d|1[0-3])(?::?[0-5]\d)?|[+-]14(?::?00)?"
_ISO: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.(?P<fraction>\d{1,9}))?)?" rf"(?P<zone>[Zz]|{_OFFSET})?",
    re.ASCII,
)
is_usual_time: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII).fullmatch
"""Whether a time has the usual form, in which it is sent to Amazon unchanged."""
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_RFC_2822: Final = re.compile(
    rf"(?:(?P<weekday>{'|'.join(_DAYS)}), ?)?(?P<day>\d\d?) (?P<month>{'|'.join(_MONTHS)}) (?P<year>\d{{4}})"
    rf" (?P<clock>\d\d:\d\d(?::\d\d)?) (?P<zone>{_OFFSET}|gmt|ut|z)",
    re.ASCII,
)
_EPOCH_TEXT: Final = re.compile(r"[1-9]\d{9}(?:\d{3})?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Seconds until the year 2286. A recent time in milliseconds, mapped as seconds by mistake, is larger.
_MAX_SECONDS: Final = 10**10


class EventTime(msgspec.Struct, frozen=True, gc=False):
    """A time in UTC, and its RFC 3339 text for Amazon."""

    at: datetime
    text: str


def read_time(value: Any) -> EventTime | None:
    """Parse an event time, or return None if it has none of the forms that have one meaning.

    These are ISO 8601 and RFC 2822 with a zone, and the seconds or milliseconds since 1970 as a number or
    text of exactly 10 or 13 digits. The text for Amazon has milliseconds only if `value` has a fraction of a
    second, which is then truncated.
    """
    if type(value) is not str:
        value = as_integer(value)
        return _from_digits(str(value)) if type(value) is int and 0 < value < 10**13 else None
    text = value.strip(" ")
    return read_iso(text) or read_rfc_2822(text) or _from_digits(text)


def parse_iso(text: str) -> tuple[datetime, bool] | None:
    """Parse an ISO 8601 time, with or without a zone. Return it, and whether its seconds have a fraction."""
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    try:
        return datetime.fromisoformat(text.upper()), match["fraction"] is not None
    except ValueError:
        return None


def read_iso(text: str) -> EventTime | None:
    """Parse an ISO 8601 time with a zone."""
    parsed = parse_iso(text)
    return None if parsed is None or parsed[0].tzinfo is None else in_utc(*parsed)


def read_rfc_2822(text: str) -> EventTime | None:
    """Parse a time such as `Tue, 24 Nov 2026 10:00:00 +0100`. Its weekday must be right."""
    match = _RFC_2822.fullmatch(text.lower()) if text.isascii() else None
    if match is None:
        return None
    month, zone = _MONTHS.index(match["month"]) + 1, match["zone"]
    zone = zone if zone[0] in "+-" else "Z"
    try:
        at = datetime.fromisoformat(f"{match['year']}-{month:02}-{match['day']:0>2}T{match['clock']}{zone}")
    except ValueError:
        return None
    return None if match["weekday"] not in (None, _DAYS[at.weekday()]) else in_utc(at)


def in_utc(at: datetime, fraction: bool = False) -> EventTime | None:
    """Return a time in UTC, or None outside the years 1 to 9999. A `fraction` gives its text milliseconds."""
    try:
        at = at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return EventTime(at, _iso(at, "milliseconds" if fraction else "seconds"))


def _from_digits(text: str) -> EventTime | None:
    if not _EPOCH_TEXT.fullmatch(text):
        return None
    return from_epoch(int(text), per_second=1 if len(text) == 10 else 1000)


def _iso(time: datetime, precision: str) -> str:
    return time.isoformat(timespec=precision).replace("+00:00", "Z")


def from_epoch(number: int | Decimal, *, per_second: int) -> EventTime | None:
    """Return a time since 1970, or None if it is not between 1970 and 2286.

    `per_second` is 1 if `number` is in seconds, 1,000 for milliseconds and 1,000,000 for microseconds.
    Fractions of a millisecond are truncated.
    """
    if not 0 <= number < _MAX_SECONDS * per_second:
        return None
    milliseconds = int(number * 1000 // per_second)
    at = _EPOCH + timedelta(milliseconds=milliseconds)
    return EventTime(at, _iso(at, "milliseconds" if milliseconds % 1000 else "seconds"))
