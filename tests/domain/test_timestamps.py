"""Times are read strictly and written in UTC."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.conversion.timestamps import from_epoch, read_time
from tests.tables import cases


@cases(
    ("text", "sent"),
    {
        "UTC is sent as it is": ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        "small letters": ("2026-01-01t00:00:00z", "2026-01-01T00:00:00Z"),
        "without seconds": ("2026-01-01T00:00Z", "2026-01-01T00:00:00Z"),
        "an offset": ("2026-01-01T00:00:00+02:00", "2025-12-31T22:00:00Z"),
        "an offset without colon": ("2026-01-01T00:00:00-0730", "2026-01-01T07:30:00Z"),
        "the largest offset, hours alone": ("2026-01-01T00:00:00+14", "2025-12-31T10:00:00Z"),
        "minus nothing": ("2026-01-01T00:00:00-00:00", "2026-01-01T00:00:00Z"),
        "a fraction gives milliseconds": ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.500Z"),
        "even one of zeros": ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z"),
        "cut, not rounded": ("2026-01-01T00:00:00.999999999Z", "2026-01-01T00:00:00.999Z"),
        "a leap day": ("2028-02-29T12:00:00Z", "2028-02-29T12:00:00Z"),
        "the first year in four digits": ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        "a space instead of T": ("2026-01-01 00:00:00Z", "2026-01-01T00:00:00Z"),
        "spaces around": ("  2026-01-01T00:00:00Z ", "2026-01-01T00:00:00Z"),
        "RFC 2822": ("Thu, 01 Jan 2026 00:00:00 +0130", "2025-12-31T22:30:00Z"),
        "RFC 2822 without day and seconds": ("1 jan 2026 00:00 GMT", "2026-01-01T00:00:00Z"),
        "RFC 2822 with Z": ("Thu, 01 Jan 2026 00:00:00 Z", "2026-01-01T00:00:00Z"),
        "RFC 2822 with UT": ("Thu, 01 Jan 2026 00:00:00 UT", "2026-01-01T00:00:00Z"),
        "seconds as text": ("1767225600", "2026-01-01T00:00:00Z"),
        "milliseconds as text": ("1767225600007", "2026-01-01T00:00:00.007Z"),
        "seconds": (1767225600, "2026-01-01T00:00:00Z"),
        "milliseconds": (1767225600007, "2026-01-01T00:00:00.007Z"),
        "a whole number with a point": (Decimal("1767225600.0"), "2026-01-01T00:00:00Z"),
    },
)
def test_read(text: Any, sent: str) -> None:
    """Every form that has one meaning is sent as RFC 3339 in UTC."""
    moment = read_time(text)
    assert moment is not None
    assert moment.text == sent
    assert moment.at.tzinfo is UTC


@cases(
    "text",
    {
        "nothing": "",
        "no zone": "2026-01-01T00:00:00",
        "a date alone": "2026-01-01",
        "a line break after": "2026-01-01T00:00:00Z\n",
        "an ordinal date": "2026-001T00:00:00Z",
        "the basic format": "20260101T000000Z",
        "a day that is not": "2026-02-29T12:00:00Z",
        "twenty-four o'clock": "2026-01-01T24:00:00Z",
        "a leap second": "2016-12-31T23:59:60Z",
        "an offset beyond fourteen hours": "2026-01-01T00:00:00+14:30",
        "sixty minutes of offset": "2026-01-01T00:00:00+05:60",
        "full-width digits": "２０２６-01-01T00:00:00Z",
        "a comma": "2026-01-01T00:00:00,5Z",
        "a point without digits": "2026-01-01T00:00:00.Z",
        "ten digits of fraction": "2026-01-01T00:00:00.1234567890Z",
        "a blank before the zone": "2026-01-01T00:00:00 Z",
        "a minus that is not ASCII": "2026-01-01T00:00:00−02:00",
        "before the first year": "0001-01-01T00:00:00+14:00",
        "the year 10000": "10000-01-01T00:00:00Z",
        "a word": "now",
        "a fraction of an epoch as text": "1767225600.0",
        "nine digits": "176722560",
        "eleven digits": "17672256000",
        "microseconds": "1767225600000000",
        "an epoch with a sign": "+1767225600",
        "RFC 2822 with the name of a zone": "Thu, 01 Jan 2026 00:00:00 EST",
        "RFC 2822 without a zone": "Thu, 01 Jan 2026 00:00:00",
        "another day of the week": "Fri, 01 Jan 2026 00:00:00 GMT",
        "a year of two digits": "Thu, 01 Jan 26 00:00:00 GMT",
        "a day that is not, in RFC 2822": "Thu, 31 Feb 2026 00:00:00 GMT",
    },
)
def test_refused(text: str) -> None:
    """What readers differ on is no time."""
    assert read_time(text) is None


@pytest.mark.parametrize(
    "value", [True, None, [], {}, 176722560, -1767225600, Decimal("1767225600.5"), Decimal("1.7672256E+9")]
)
def test_values_that_are_no_times(value: Any) -> None:
    """A fraction of an epoch, another number of digits or another type is refused."""
    assert read_time(value) is None


@given(
    st.datetimes(
        min_value=datetime(1900, 1, 1),
        max_value=datetime(2300, 1, 1),
        timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m))),
    )
)
def test_a_time_keeps_its_instant(at: datetime) -> None:
    """Whatever the offset, the instant sent is the instant meant, to the millisecond."""
    moment = read_time(at.isoformat())
    assert moment is not None
    assert moment.at == at
    sent = datetime.fromisoformat(moment.text)
    assert timedelta(0) <= at - sent < timedelta(milliseconds=1)


@cases(
    ("number", "per_second", "text"),
    {
        "seconds": (1767225600, 1, "2026-01-01T00:00:00Z"),
        "seconds with a fraction": (Decimal("1767225600.1239"), 1, "2026-01-01T00:00:00.123Z"),
        "milliseconds": (1767225600000, 1000, "2026-01-01T00:00:00Z"),
        "milliseconds that count": (1767225600007, 1000, "2026-01-01T00:00:00.007Z"),
        "zero": (0, 1, "1970-01-01T00:00:00Z"),
        "milliseconds where seconds are meant": (1767225600000, 1, None),
        "microseconds": (1767225600000000, 1000, None),
        "before 1970": (-1, 1, None),
        "a number without end": (10**4000, 1, None),
    },
)
def test_epochs(number: Any, per_second: int, text: str | None) -> None:
    """An epoch is read in the unit the mapping names; another unit falls outside."""
    time = from_epoch(number, per_second=per_second)
    assert (time and time.text) == text
