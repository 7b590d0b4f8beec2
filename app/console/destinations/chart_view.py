"""Charts of a destination's page. A line has a value for each period (bucket) of the range. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.console.time_range import TimeRange
from app.console.wording import number
from app.store.destinations.figures import ResponseTimes
from app.store.destinations.outcome_history import OutcomeBucket

BUCKET_NAMES: Final[Mapping[timedelta, str]] = {
    timedelta(minutes=1): "minute",
    timedelta(minutes=5): "5 minutes",
    timedelta(minutes=15): "15 minutes",
    timedelta(hours=3): "3 hours",
    timedelta(days=1): "day (UTC)",
}
_UNITS: Final = (("day", 1440), ("hour", 60), ("minute", 1))  # in minutes
_MOST_ROWS: Final = 31  # of the table: the panel is sent again with each update
Value = float | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: its label, its tone, its values and a summary in words.

    There is a value for each bucket; None means that nothing was measured.
    """

    label: str
    tone: str
    values: Sequence[Value]
    summary: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its own axis. `unit` labels the axis.

    If no line has a value, the page shows `empty` instead.
    """

    id: str
    title: str
    unit: str
    lines: Sequence[Line]
    empty: str
    help: str = ""

    @property
    def has_values(self) -> bool:
        return any(value for line in self.lines for value in line.values)

    @property
    def summary(self) -> str:
        return "; ".join(line.summary for line in self.lines)


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of the table of values. It covers one or more buckets. A cell without a measurement is empty."""

    start: datetime
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class ChartSet:
    """The charts of a page; `starts` are the start times of the buckets."""

    charts: Sequence[Chart]
    starts: Sequence[datetime]
    bucket: timedelta

    @property
    def is_daily(self) -> bool:
        """Whether the buckets are days."""
        return self.bucket >= timedelta(days=1)

    @property
    def times(self) -> list[int]:
        """The starts of the buckets as epoch seconds."""
        return [int(start.timestamp()) for start in self.starts]

    @property
    def columns(self) -> list[str]:
        """The column headings of the table of values. Lines without a value have no column."""
        return [
            line.label if chart.unit == "events" else f"{line.label} ({chart.unit})"
            for chart, line in self._lines()
        ]

    @property
    def row_width(self) -> str:
        """The time that a row of the table covers."""
        minutes = self.bucket * self._buckets_per_row() // timedelta(minutes=1)
        unit, size = next(each for each in _UNITS if minutes % each[1] == 0)
        return unit if minutes == size else f"{minutes // size} {unit}s"

    @property
    def rows(self) -> list[TableRow]:
        """The rows of the table, newest first. Rows in which nothing happened are left out.

        A cell has the sum for counts of events, and the maximum for other values.
        """
        size, lines = self._buckets_per_row(), self._lines()
        found = []
        for first in range(0, len(self.starts), size):
            parts = [(chart, line.values[first : first + size]) for chart, line in lines]
            values = [_condensed(part, is_sum=chart.unit == "events") for chart, part in parts]
            if any(values):
                cells = ["" if value is None else number(round(value, 1)) for value in values]
                found.append(TableRow(self.starts[first], cells))
        return found[::-1]

    def _buckets_per_row(self) -> int:
        return -(-len(self.starts) // _MOST_ROWS)

    def _lines(self) -> list[tuple[Chart, Line]]:
        return [(chart, line) for chart in self.charts for line in chart.lines if any(line.values)]


def _condensed(values: Sequence[Value], *, is_sum: bool) -> Value:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return sum(known) if is_sum else max(known)


def charts(
    history: Sequence[OutcomeBucket], response_times: Sequence[ResponseTimes], chosen: TimeRange
) -> ChartSet:
    """Return the charts of a time range. A bucket without a stored row is zero in charts of counts.

    It is a gap in charts of measurements.
    """
    starts = chosen.bucket_starts()
    by_start = {bucket.at: bucket for bucket in history}
    rows = [by_start.get(start) for start in starts]
    per = f"per {BUCKET_NAMES[chosen.name.bucket]}"
    none = "No events in this time range."
    accepted = _counts("Accepted", "quiet", rows, lambda bucket: bucket.accepted)
    delivered = _counts("Delivered", "good", rows, lambda bucket: bucket.delivered)
    learned = [row.learned_rate if row else None for row in rows]
    made = (
        Chart("throughput", f"Events {per}", "events", (accepted, delivered), none),
        Chart(
            "failures",
            f"Failures {per}",
            "events",
            (
                _counts("Failed permanently", "bad", rows, lambda bucket: bucket.failed),
                _counts("Rejected", "accent", rows, lambda bucket: bucket.rejected),
                _counts("Retried", "warn", rows, lambda bucket: bucket.retried),
            ),
            "No failures in this time range.",
            "“Failed permanently” includes expired events. “Retried” counts each failed request of an event.",
        ),
        _latency(response_times, starts),
        _backlog(rows),
        Chart(
            "rate",
            "Request rate",
            "requests/s",
            (_measured("Adaptive rate", "accent", learned, "requests/s"),),
            "No measurements in this time range.",
            "The rate that Amazon accepts, estimated from its responses.",
        ),
    )
    return ChartSet(made, starts, chosen.name.bucket)


def _counts(
    label: str, tone: str, rows: Sequence[OutcomeBucket | None], count: Callable[[OutcomeBucket], int]
) -> Line:
    values = [count(row) if row else 0 for row in rows]
    return Line(label, tone, values, f"{label}: {number(sum(values))}, at most {number(max(values))}")


def _measured(label: str, tone: str, values: Sequence[Value], unit: str) -> Line:
    known = [value for value in values if value is not None]
    rounded = [None if value is None else round(value, 1) for value in values]
    extent = f"{number(round(min(known), 1))} to {number(round(max(known), 1))} {unit}" if known else "none"
    return Line(label, tone, rounded, f"{label}: {extent}")


def _latency(response_times: Sequence[ResponseTimes], starts: Sequence[datetime]) -> Chart:
    times = {each.at: each for each in response_times}
    median = [times[start].p50_ms if start in times else None for start in starts]
    slow = [times[start].p95_ms if start in times else None for start in starts]
    return Chart(
        "latency",
        "Amazon's response time",
        "ms",
        (_measured("Median", "good", median, "ms"), _measured("95th percentile", "warn", slow, "ms")),
        "No requests in this time range.",
    )


_SCALES: Final = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))


def _backlog(rows: Sequence[OutcomeBucket | None]) -> Chart:
    ages = [(row.oldest_waiting_seconds or 0.0) if row else 0.0 for row in rows]
    size, unit = next((scale for scale in _SCALES if max(ages) >= 2 * scale[0]), _SCALES[-1])
    values = [age / size for age in ages]
    return Chart(
        "backlog-age",
        "Age of the oldest waiting event",
        unit,
        (_measured("Oldest waiting", "warn", values, unit),),
        "No event waited in this time range.",
    )


WIDTH, HEIGHT = 112.0, 24.0  # of an inline chart
_POINTS: Final = 24


def line(values: Sequence[float]) -> str:
    """Return the points of an SVG line in an area of 112 × 24. The value zero is at the bottom."""
    maximum = max(values) or 1
    step = WIDTH / max(1, len(values) - 1)
    return " ".join(
        f"{index * step:.0f},{HEIGHT - 2 - value / maximum * (HEIGHT - 4):.0f}"
        for index, value in enumerate(values)
    )


def condensed(values: Sequence[int]) -> list[int]:
    """Add neighbouring values up, so that at most 24 sums remain. Return the sums in order."""
    size = -(-len(values) // _POINTS)
    return [sum(values[start : start + size]) for start in range(0, len(values), size)]
