"""The time range of a page, from 1 hour to 30 days. Pure.

It has a name, a begin, an end and the buckets of charts. It also creates the links to other ranges.

A route takes it as `range_name: RangeParameter = RangeName.DAY` and calls `time_range(range_name, now)`. The
range begins at the start of a bucket, so that tiles, charts and lists of a page cover the same time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Self
from urllib.parse import urlencode

from fastapi import Query

from app.store.destinations.outcome_history import Period

PARAMETER: Final = "range"


class RangeName(StrEnum):
    """The value of the query parameter `range`, with its labels, its length and the width of its buckets."""

    _value_: str
    label: str
    short_label: str
    span: timedelta
    bucket: timedelta

    HOUR = "1h", "Last hour", "1 h", timedelta(hours=1), timedelta(minutes=1)
    SIX_HOURS = "6h", "Last 6 hours", "6 h", timedelta(hours=6), timedelta(minutes=5)
    DAY = "24h", "Last 24 hours", "24 h", timedelta(hours=24), timedelta(minutes=15)
    WEEK = "7d", "Last 7 days", "7 d", timedelta(days=7), timedelta(hours=3)
    MONTH = "30d", "Last 30 days", "30 d", timedelta(days=30), timedelta(days=1)

    def __new__(cls, value: str, label: str, short_label: str, span: timedelta, bucket: timedelta) -> Self:
        """Return a member that is the text `value`."""
        member = str.__new__(cls, value)
        member._value_, member.label, member.short_label = value, label, short_label
        member.span, member.bucket = span, bucket
        return member


RangeParameter = Annotated[RangeName, Query(alias=PARAMETER)]
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_DROPPED: Final = frozenset({PARAMETER, "day", "cursor"})  # a cursor belongs to the list of one range


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A range that ends now. `since` and `until` are UTC."""

    name: RangeName
    since: datetime
    until: datetime

    @property
    def previous(self) -> Period | None:
        """The time of the same length before this range, or None if its counts are not stored any more.

        It ends at the start of a minute or of an hour, so up to an hour may lie between both.
        """
        span = self.name.span
        if span > timedelta(days=7):
            return None
        width = timedelta(minutes=1) if span == timedelta(hours=1) else timedelta(hours=1)
        until = bucket_start(self.since, width)
        return Period(width, until - span, until)

    def part_since(self, moment: datetime | None) -> str:
        """Return the part of the range from a moment on, as `12 of 30 days`. Return "" without a moment."""
        if moment is None:
            return ""
        is_long = self.until - self.since > timedelta(days=2)
        unit, name = (timedelta(days=1), "days") if is_long else (timedelta(hours=1), "hours")
        whole = round((self.until - self.since) / unit)
        part = (self.until - moment) / unit
        return f"{f'{part:.1f}' if 0 < part < 10 else f'{min(part, whole):.0f}'} of {whole} {name}"

    def bucket_starts(self) -> list[datetime]:
        """Return the start of every bucket, oldest first; the last one contains `until`."""
        width = self.name.bucket
        count = (self.until - self.since) // width + 1
        return [self.since + width * index for index in range(count)]

    def links(self, parameters: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str, bool]]:
        """Return the link of each range: its label, its address, and whether it is the current one.

        It has the `parameters` of the current page except its cursor.
        """
        kept = [pair for pair in parameters if pair[0] not in _DROPPED]
        return [
            (name.short_label, f"?{urlencode([*kept, (PARAMETER, name)])}", name is self.name)
            for name in RangeName
        ]


def time_range(name: RangeName, now: datetime) -> TimeRange:
    """Return the range that ends at `now`, a time with a zone."""
    until = now.astimezone(UTC)
    return TimeRange(name, bucket_start(until - name.span, name.bucket), until)


def range_since(begin: datetime, now: datetime) -> TimeRange:
    """Return the shortest range that begins before this time; the longest is a month."""
    ranges = [time_range(name, now) for name in RangeName]
    return next((each for each in ranges if each.since + each.name.bucket < begin), ranges[-1])


def bucket_start(moment: datetime, bucket: timedelta) -> datetime:
    """Return the start of the bucket that contains a moment; buckets of a day begin at midnight UTC."""
    return moment - (moment - _EPOCH) % bucket
