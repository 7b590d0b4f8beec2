"""The time range of a page: its begin, its buckets and its links."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console.time_range import RangeName, bucket_start, time_range

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
    assert starts[-1] <= chosen.until < starts[-1] + chosen.bucket
    assert all(bucket_start(start, chosen.bucket) == start for start in starts)
    assert chosen.since.tzinfo is UTC


def test_links_keep_the_other_parameters_and_drop_the_cursor() -> None:
    links = time_range(RangeName.WEEK, NOW).links([("q", "a&b"), ("cursor", "9"), ("range", "7d")])
    assert [link.href for link in links if link.is_current] == ["?q=a%26b&range=7d"]
    assert [link.label for link in links] == ["1 h", "6 h", "24 h", "7 d", "30 d"]
