"""The time range of a page: its begin, its buckets and its links."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console.time_range import RangeName, bucket_start, range_since, time_range
from app.store.destinations.outcome_history import RETENTION

NOW = datetime(2026, 11, 24, 16, 7, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "since", "buckets"),
    [
        (RangeName.HOUR, datetime(2026, 11, 24, 15, 7, tzinfo=UTC), 61),
        (RangeName.SIX_HOURS, datetime(2026, 11, 24, 10, 5, tzinfo=UTC), 73),
        (RangeName.DAY, datetime(2026, 11, 23, 16, 0, tzinfo=UTC), 97),
        (RangeName.WEEK, datetime(2026, 11, 17, 15, 0, tzinfo=UTC), 57),
        (RangeName.MONTH, datetime(2026, 10, 25, tzinfo=UTC), 31),
    ],
)
def test_a_range_begins_with_a_bucket(name: RangeName, since: datetime, buckets: int) -> None:
    chosen = time_range(name, NOW)
    assert (chosen.since, len(chosen.bucket_starts())) == (since, buckets)


@given(
    st.sampled_from(RangeName),
    st.datetimes(min_value=datetime(2001, 1, 1), timezones=st.just(timezone(timedelta(hours=5, minutes=45)))),
)
def test_the_buckets_cover_the_range(name: RangeName, now: datetime) -> None:
    chosen = time_range(name, now)
    starts = chosen.bucket_starts()
    assert starts[0] == chosen.since
    assert starts[-1] <= chosen.until < starts[-1] + chosen.name.bucket
    assert all(bucket_start(start, chosen.name.bucket) == start for start in starts)
    assert chosen.since.tzinfo is UTC


def test_links_keep_the_other_parameters_and_drop_the_cursor() -> None:
    links = time_range(RangeName.WEEK, NOW).links([("q", "a&b"), ("cursor", "9"), ("range", "7d")])
    assert [link.href for link in links if link.is_current] == ["?q=a%26b&range=7d"]
    assert [link.label for link in links] == ["1 h", "6 h", "24 h", "7 d", "30 d"]


@pytest.mark.parametrize(
    ("ago", "name"),
    [
        (timedelta(minutes=1), RangeName.HOUR),
        (timedelta(minutes=58), RangeName.HOUR),
        (timedelta(hours=1), RangeName.SIX_HOURS),
        (timedelta(hours=30), RangeName.WEEK),
        (timedelta(days=90), RangeName.MONTH),
    ],
)
def test_a_range_begins_before_the_incident(ago: timedelta, name: RangeName) -> None:
    """At least a bucket before it, so that the chart shows the time before; the longest is a month."""
    chosen = range_since(NOW - ago, NOW)
    assert chosen.name is name
    assert ago > timedelta(days=30) or chosen.since + chosen.name.bucket < NOW - ago


@given(
    st.sampled_from([RangeName.HOUR, RangeName.SIX_HOURS, RangeName.DAY, RangeName.WEEK]),
    st.datetimes(min_value=datetime(2001, 1, 1), timezones=st.just(UTC)),
)
def test_the_time_before_is_as_long_and_is_stored(name: RangeName, now: datetime) -> None:
    """It ends where the range begins, or less than an hour earlier."""
    chosen = time_range(name, now)
    before = chosen.previous
    assert before is not None
    assert (
        before.until - before.since
        == {
            RangeName.HOUR: timedelta(hours=1),
            RangeName.SIX_HOURS: timedelta(hours=6),
            RangeName.DAY: timedelta(days=1),
            RangeName.WEEK: timedelta(days=7),
        }[name]
    )
    assert timedelta() <= chosen.since - before.until < timedelta(hours=1)
    assert bucket_start(before.since, before.width) == before.since
    assert now - before.since < RETENTION[before.width]


def test_a_month_is_not_compared() -> None:
    assert time_range(RangeName.MONTH, NOW).previous is None


@pytest.mark.parametrize(
    ("name", "ago", "words"),
    [
        (RangeName.MONTH, timedelta(days=12), "12 of 30 days"),
        (RangeName.MONTH, timedelta(hours=12), "0.5 of 30 days"),
        (RangeName.DAY, timedelta(hours=3), "3.0 of 24 hours"),
        (RangeName.MONTH, timedelta(days=99), "31 of 31 days"),
    ],
)
def test_a_part_of_a_range_is_named_in_days_or_hours(name: RangeName, ago: timedelta, words: str) -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    assert time_range(name, now).part_since(now - ago) in (words, words.replace("31", "30"))
    assert time_range(name, now).part_since(None) == ""
