"""Charts of a destination's page. A line has a value for each period (bucket) of the range. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.console.time_range import TimeRange
from app.console.wording import number
from app.store.destinations.figures import ResponseTimes
from app.store.destinations.outcome_history import OutcomeBucket

EVENTS: Final = "events"
_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_MOST_ROWS: Final = 31  # of the table: the panel is sent again with each update
Value = float | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: its label, its tone, and a value for each bucket. None: nothing was measured."""

    label: str
    tone: str
    values: Sequence[Value]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its own axis. `unit` labels the axis; with EVENTS, the values are counts.

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
        """The lines in words."""
        return "; ".join(f"{line.label}: {self._extent(line)}" for line in self.lines)

    def total(self, values: Sequence[Value]) -> Value:
        """Return the sum of counts, the maximum of other values, or None without a measurement."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        return sum(known) if self.unit == EVENTS else max(known)

    def _extent(self, line: Line) -> str:
        known = [value for value in line.values if value is not None]
        if not known:
            return "none"
        if self.unit == EVENTS:
            return f"{number(sum(known))}, at most {number(max(known))}"
        return f"{number(min(known))} to {number(max(known))} {self.unit}"


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
            line.label if chart.unit == EVENTS else f"{line.label} ({chart.unit})"
            for chart, line in self._lines()
        ]

    @property
    def row_width(self) -> str:
        """The time that a row of the table covers."""
        return _duration(self.bucket * self._buckets_per_row())

    @property
    def rows(self) -> list[tuple[datetime, list[str]]]:
        """The begin and the cells of each row of the table, newest first. A row covers one or more buckets.

        Rows in which nothing happened are left out. A cell has the sum for counts of events, and the maximum
        for other values; without a measurement it is empty.
        """
        size, lines = self._buckets_per_row(), self._lines()
        found = []
        for first in range(0, len(self.starts), size):
            values = [chart.total(line.values[first : first + size]) for chart, line in lines]
            if any(values):
                cells = ["" if value is None else number(round(value, 1)) for value in values]
                found.append((self.starts[first], cells))
        return found[::-1]

    def _buckets_per_row(self) -> int:
        return -(-len(self.starts) // _MOST_ROWS)

    def _lines(self) -> list[tuple[Chart, Line]]:
        return [(chart, line) for chart in self.charts for line in chart.lines if any(line.values)]


def _duration(width: timedelta) -> str:
    """Return a width of whole units, such as `day` or `5 minutes`."""
    seconds = int(width.total_seconds())
    size, unit = next(each for each in _UNITS if seconds % each[0] == 0)
    return unit if seconds == size else f"{seconds // size} {unit}s"


def charts(
    history: Sequence[OutcomeBucket], response_times: Sequence[ResponseTimes], chosen: TimeRange
) -> ChartSet:
    """Return the charts of a time range. A bucket without a stored row is zero in charts of counts.

    It is a gap in charts of measurements.
    """
    starts = chosen.bucket_starts()
    by_start = {bucket.at: bucket for bucket in history}
    rows = [by_start.get(start) for start in starts]
    times = {each.at: each for each in response_times}
    answers = [times.get(start) for start in starts]
    per = f"per {_duration(chosen.name.bucket)}"
    if chosen.name.bucket >= timedelta(days=1):
        per += " (UTC)"

    def counts(label: str, tone: str, count: Callable[[OutcomeBucket], int]) -> Line:
        return Line(label, tone, [count(row) if row else 0 for row in rows])

    accepted = counts("Accepted", "quiet", lambda bucket: bucket.accepted)
    delivered = counts("Delivered", "good", lambda bucket: bucket.delivered)
    none = "No events in this time range."
    made = (
        Chart("throughput", f"Events {per}", EVENTS, (accepted, delivered), none),
        Chart(
            "failures",
            f"Failures {per}",
            EVENTS,
            (
                counts("Failed permanently", "bad", lambda bucket: bucket.failed),
                counts("Rejected", "accent", lambda bucket: bucket.rejected),
                counts("Retried", "warn", lambda bucket: bucket.retried),
            ),
            "No failures in this time range.",
            "“Failed permanently” includes expired events. “Retried” counts each failed request of an event.",
        ),
        Chart(
            "latency",
            "Amazon's response time",
            "ms",
            (
                _measured("Median", "good", [each.p50_ms if each else None for each in answers]),
                _measured("95th percentile", "warn", [each.p95_ms if each else None for each in answers]),
            ),
            "No requests in this time range.",
        ),
        _backlog(rows),
        Chart(
            "rate",
            "Request rate",
            "requests/s",
            (_measured("Adaptive rate", "accent", [row.learned_rate if row else None for row in rows]),),
            "No measurements in this time range.",
            "The rate that Amazon accepts, estimated from its responses.",
        ),
    )
    return ChartSet(made, starts, chosen.name.bucket)


def _measured(label: str, tone: str, values: Iterable[Value]) -> Line:
    return Line(label, tone, [None if value is None else round(value, 1) for value in values])


def _backlog(rows: Sequence[OutcomeBucket | None]) -> Chart:
    ages = [(row.oldest_waiting_seconds or 0.0) if row else 0.0 for row in rows]
    size, unit = next((scale for scale in _UNITS if max(ages) >= 2 * scale[0]), _UNITS[-1])
    return Chart(
        "backlog-age",
        "Age of the oldest waiting event",
        f"{unit}s",
        (_measured("Oldest waiting", "warn", [age / size for age in ages]),),
        "No event waited in this time range.",
    )
