"""Charts of a destination: a value per bucket, gaps where nothing was measured, and their time range."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.console.destinations.chart_view import charts
from app.console.time_range import RangeName, bucket_start, range_since, time_range
from app.domain.ids import DestinationNumber
from app.store.destinations.figures import ResponseTimes
from app.store.destinations.outcome_history import RETENTION, OutcomeBucket

NOW = datetime(2026, 11, 24, 16, 7, 31, tzinfo=UTC)
ONE = DestinationNumber(1)


def test_a_bucket_without_events_is_zero_and_without_a_measurement_a_gap() -> None:
    chosen = time_range(RangeName.HOUR, NOW)
    at = chosen.bucket_starts()[10]
    history = [OutcomeBucket(ONE, at, accepted=5, delivered=3, dead=1, expired=1, rejected=2, retried=9)]
    made = charts(history, [ResponseTimes(at, 12.44, 30.0)], chosen)
    values = {chart.id: [line.values for line in chart.lines] for chart in made.charts}
    assert made.times[10] == int(at.timestamp())
    assert [line[10] for line in values["throughput"]] == [5, 3]
    assert [line[10] for line in values["failures"]] == [2, 2, 9]
    assert [line[10] for line in values["latency"]] == [12.4, 30.0]
    assert [line[11] for line in values["throughput"] + values["failures"]] == [0] * 5
    assert [line[11] for line in values["latency"] + values["rate"]] == [None] * 3


def test_failures_have_an_axis_of_their_own() -> None:
    """Five failures beside two thousand deliveries are no flat line."""
    made = charts([], [], time_range(RangeName.DAY, NOW))
    lines = {chart.id: [line.label for line in chart.lines] for chart in made.charts}
    assert lines["throughput"] == ["Accepted", "Delivered"]
    assert lines["failures"] == ["Failed permanently", "Rejected", "Retried"]
    assert all(chart.unit for chart in made.charts)
    assert not any(chart.has_values for chart in made.charts)


def test_the_age_of_a_backlog_has_a_unit_that_fits() -> None:
    chosen = time_range(RangeName.MONTH, NOW)
    at = chosen.bucket_starts()[3]
    for seconds, unit, value in ((40.0, "seconds", 40), (600.0, "minutes", 10), (10_800.0, "hours", 3)):
        made = charts([OutcomeBucket(ONE, at, oldest_waiting_seconds=seconds)], [], chosen)
        chart = next(chart for chart in made.charts if chart.id == "backlog-age")
        assert (chart.unit, chart.lines[0].values[3]) == (unit, value)
    assert made.is_daily


def test_a_chart_is_summed_up_in_words_for_those_who_cannot_see_it() -> None:
    chosen = time_range(RangeName.HOUR, NOW)
    buckets = [OutcomeBucket(ONE, at, accepted=3, delivered=2) for at in chosen.bucket_starts()[:4]]
    made = charts(buckets, [], chosen)
    assert made.charts[0].summary == "Accepted: 12, at most 3; Delivered: 8, at most 2"


def test_the_values_are_a_table_for_those_without_a_script() -> None:
    """The newest first, without rows and lines in which nothing happened; a row covers some buckets."""
    chosen = time_range(RangeName.HOUR, NOW)
    first, other, second = chosen.bucket_starts()[4:7]
    history = [
        OutcomeBucket(ONE, first, accepted=1_230, delivered=2),
        OutcomeBucket(ONE, other, accepted=4),
        OutcomeBucket(ONE, second, accepted=5),
    ]
    times = [ResponseTimes(second, 12.44, 30.0), ResponseTimes(chosen.bucket_starts()[7], 12.0, 20.0)]
    made = charts(history, times, chosen)
    assert made.row_width == "2 minutes"
    assert made.columns == ["Accepted", "Delivered", "Median (ms)", "95th percentile (ms)"]
    assert made.rows == [
        (second, ["5", "0", "12.4", "30"]),
        (first, ["1,234", "2", "", ""]),
    ]
    assert charts([], [], chosen).rows == []


def test_the_table_is_short_whatever_the_range() -> None:
    widths = []
    for name in RangeName:
        chosen = time_range(name, NOW)
        buckets = [OutcomeBucket(ONE, at, accepted=1) for at in chosen.bucket_starts()]
        made = charts(buckets, [], chosen)
        assert 15 <= len(made.rows) <= 31
        assert sum(int(cells[0]) for _, cells in made.rows) == len(buckets)
        widths.append(made.row_width)
    assert widths == ["2 minutes", "15 minutes", "hour", "6 hours", "day"]


def test_every_bucket_has_a_name() -> None:
    titles = {name: charts([], [], time_range(name, NOW)).charts[0].title for name in RangeName}
    assert titles == {
        RangeName.HOUR: "Events per minute",
        RangeName.SIX_HOURS: "Events per 5 minutes",
        RangeName.DAY: "Events per 15 minutes",
        RangeName.WEEK: "Events per 3 hours",
        RangeName.MONTH: "Events per day (UTC)",
    }
    assert max(name.bucket for name in RangeName) == timedelta(days=1)


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
    assert [href for _, href, is_current in links if is_current] == ["?q=a%26b&range=7d"]
    assert [label for label, _, _ in links] == ["1 h", "6 h", "24 h", "7 d", "30 d"]


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
