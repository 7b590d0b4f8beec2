"""The charts of a destination: a value per bucket, gaps where nothing was measured, and units."""

from datetime import UTC, datetime, timedelta

from app.console.destinations.chart_view import BUCKET_NAMES, charts
from app.console.time_range import RangeName, time_range
from app.domain.ids import DestinationNumber
from app.store.destinations.figures import ResponseTimes
from app.store.destinations.outcome_history import OutcomeBucket

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
    assert [(row.start, list(row.cells)) for row in made.rows] == [
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
        assert sum(int(row.cells[0]) for row in made.rows) == len(buckets)
        widths.append(made.row_width)
    assert widths == ["2 minutes", "15 minutes", "hour", "6 hours", "day"]


def test_every_bucket_has_a_name() -> None:
    buckets = {name.bucket for name in RangeName}
    assert set(BUCKET_NAMES) == buckets
    assert max(buckets) == timedelta(days=1)
