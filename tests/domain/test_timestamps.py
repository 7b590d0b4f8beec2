"""Times are read strictly and written in UTC."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.conversion.timestamps import from_epoch, read_time


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        pytest.param("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", id="UTC is sent as it is"),
        pytest.param("2026-01-01t00:00:00z", "2026-01-01T00:00:00Z", id="small letters"),
        pytest.param("2026-01-01T00:00Z", "2026-01-01T00:00:00Z", id="without seconds"),
        pytest.param("2026-01-01T00:00:00+02:00", "2025-12-31T22:00:00Z", id="an offset"),
        pytest.param("2026-01-01T00:00:00-0730", "2026-01-01T07:30:00Z", id="an offset without colon"),
        pytest.param("2026-01-01T00:00:00+14", "2025-12-31T10:00:00Z", id="the largest offset, hours alone"),
        pytest.param("2026-01-01T00:00:00-00:00", "2026-01-01T00:00:00Z", id="minus nothing"),
        pytest.param(
            "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.500Z", id="a fraction gives milliseconds"
        ),
        pytest.param("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z", id="even one of zeros"),
        pytest.param("2026-01-01T00:00:00.999999999Z", "2026-01-01T00:00:00.999Z", id="cut, not rounded"),
        pytest.param("2028-02-29T12:00:00Z", "2028-02-29T12:00:00Z", id="a leap day"),
        pytest.param("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", id="the first year in four digits"),
        pytest.param("2026-01-01 00:00:00Z", "2026-01-01T00:00:00Z", id="a space instead of T"),
        pytest.param("  2026-01-01T00:00:00Z ", "2026-01-01T00:00:00Z", id="spaces around"),
        pytest.param("Thu, 01 Jan 2026 00:00:00 +0130", "2025-12-31T22:30:00Z", id="RFC 2822"),
        pytest.param("1 jan 2026 00:00 GMT", "2026-01-01T00:00:00Z", id="RFC 2822 without day and seconds"),
        pytest.param("Thu, 01 Jan 2026 00:00:00 Z", "2026-01-01T00:00:00Z", id="RFC 2822 with Z"),
        pytest.param("Thu, 01 Jan 2026 00:00:00 UT", "2026-01-01T00:00:00Z", id="RFC 2822 with UT"),
        pytest.param("1767225600", "2026-01-01T00:00:00Z", id="seconds as text"),
        pytest.param("1767225600007", "2026-01-01T00:00:00.007Z", id="milliseconds as text"),
        pytest.param(1767225600, "2026-01-01T00:00:00Z", id="seconds"),
        pytest.param(1767225600007, "2026-01-01T00:00:00.007Z", id="milliseconds"),
        pytest.param(Decimal("1767225600.0"), "2026-01-01T00:00:00Z", id="a whole number with a point"),
    ],
)
def test_read(text: Any, sent: str) -> None:
    """Every form that has one meaning is sent as RFC 3339 in UTC."""
    moment = read_time(text)
    assert moment is not None
    assert moment.text == sent
    assert moment.at.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("2026-01-01T00:00:00", id="no zone"),
        pytest.param("2026-01-01", id="a date alone"),
        pytest.param("2026-01-01 00:00", id="a blank between, no zone"),
        pytest.param("2026-01-01  00:00:00Z", id="two blanks between"),
        pytest.param("2026-01-01T00:00:00Z\n", id="a line break after"),
        pytest.param("2026-001T00:00:00Z", id="an ordinal date"),
        pytest.param("2026-W01-1T00:00:00Z", id="a week date"),
        pytest.param("20260101T000000Z", id="the basic format"),
        pytest.param("2026-02-29T12:00:00Z", id="a day that is not"),
        pytest.param("2026-13-01T12:00:00Z", id="a month that is not"),
        pytest.param("2026-01-01T24:00:00Z", id="twenty-four o'clock"),
        pytest.param("2016-12-31T23:59:60Z", id="a leap second"),
        pytest.param("2026-01-01T00:00:00+99:99", id="an offset that is none"),
        pytest.param("2026-01-01T00:00:00+14:30", id="an offset beyond fourteen hours"),
        pytest.param("2026-01-01T00:00:00+05:60", id="sixty minutes of offset"),
        pytest.param("２０２６-01-01T00:00:00Z", id="full-width digits"),
        pytest.param("٢٠٢٦-01-01T00:00:00Z", id="Arabic digits"),
        pytest.param("2026-01-01T00:00:00,5Z", id="a comma"),
        pytest.param("2026-01-01T00:00:00.Z", id="a point without digits"),
        pytest.param("2026-01-01T00:00:00.1234567890Z", id="ten digits of fraction"),
        pytest.param("2026-01-01T00:00:00 Z", id="a blank before the zone"),
        pytest.param("2026-01-01T00:00:00Europe/Berlin", id="a zone's name"),
        pytest.param("2026-01-01T00:00:00−02:00", id="a minus that is not ASCII"),
        pytest.param("0001-01-01T00:00:00+14:00", id="before the first year"),
        pytest.param("10000-01-01T00:00:00Z", id="the year 10000"),
        pytest.param("infinity", id="infinity"),
        pytest.param("now", id="a word"),
        pytest.param("1767225600.0", id="a fraction of an epoch as text"),
        pytest.param("176722560", id="nine digits"),
        pytest.param("17672256000", id="eleven digits"),
        pytest.param("1767225600000000", id="microseconds"),
        pytest.param("+1767225600", id="an epoch with a sign"),
        pytest.param("١٧٦٧٢٢٥٦٠٠", id="an epoch in Arabic digits"),
        pytest.param("Thu, 01 Jan 2026 00:00:00 EST", id="RFC 2822 with the name of a zone"),
        pytest.param("Thu, 01 Jan 2026 00:00:00", id="RFC 2822 without a zone"),
        pytest.param("Fri, 01 Jan 2026 00:00:00 GMT", id="another day of the week"),
        pytest.param("Thu, 01 Jan 26 00:00:00 GMT", id="a year of two digits"),
        pytest.param("Thu, 31 Feb 2026 00:00:00 GMT", id="a day that is not, in RFC 2822"),
    ],
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


@pytest.mark.parametrize(
    ("number", "per_second", "text"),
    [
        pytest.param(1767225600, 1, "2026-01-01T00:00:00Z", id="seconds"),
        pytest.param(Decimal("1767225600.1239"), 1, "2026-01-01T00:00:00.123Z", id="seconds with a fraction"),
        pytest.param(1767225600000, 1000, "2026-01-01T00:00:00Z", id="milliseconds"),
        pytest.param(1767225600007, 1000, "2026-01-01T00:00:00.007Z", id="milliseconds that count"),
        pytest.param(0, 1, "1970-01-01T00:00:00Z", id="zero"),
        pytest.param(1767225600000, 1, None, id="milliseconds where seconds are meant"),
        pytest.param(1767225600000000, 1000, None, id="microseconds"),
        pytest.param(-1, 1, None, id="before 1970"),
        pytest.param(10**4000, 1, None, id="a number without end"),
    ],
)
def test_epochs(number: Any, per_second: int, text: str | None) -> None:
    """An epoch is read in the unit the mapping names; another unit falls outside."""
    time = from_epoch(number, per_second=per_second)
    assert (time and time.text) == text
