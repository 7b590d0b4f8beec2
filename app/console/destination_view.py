"""Views of a destination's page: event counts, delivery health, charts, match keys. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.console.overview_view import line
from app.console.wording import STATUSES, age, moment, number, share
from app.domain.batch import EventMetadata
from app.domain.identity import MATCH_KEYS
from app.domain.mapping.fields import FIELDS, MATCH_KEY_FIELDS
from app.domain.outcomes.reasons import REASONS
from app.store.metrics import ChartStep, ConnectionInfo, FailureRun, RequestRow

SPAN, STEP = timedelta(hours=1), timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class PipelineStage:
    """One stage of the pipeline. `status` filters the list of events, if the list has it."""

    label: str
    count: str
    nonzero: bool
    tone: str
    meaning: str
    status: str | None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages in order; `sum` shows that the statuses add up to the accepted events."""

    received: Sequence[PipelineStage]
    waiting: Sequence[PipelineStage]
    ended: Sequence[PipelineStage]
    sum: str


_ON_RECEIPT = {
    "accepted": ("Accepted", "good", "Stored on disk before the journey received its response."),
    "rejected": ("Rejected", "bad", "Rejected on receipt; the response to the journey has the reason."),
    "duplicates": ("Duplicates", "quiet", "Already received, so not stored again."),
}


def pipeline(counts: Mapping[str, int]) -> Pipeline:
    """Return the stages from the API's counts."""
    received = [
        PipelineStage(
            label,
            number(counts[name]),
            counts[name] > 0,
            tone if counts[name] else "quiet",
            meaning,
            name if name == "rejected" else None,  # the list of events has no page for the others
        )
        for name, (label, tone, meaning) in _ON_RECEIPT.items()
    ]
    waiting = [_stage(name, counts[name]) for name in ("queued", "retrying", "held", "parked")]
    ended = [
        _stage(name, counts[name])
        for name in ("delivered", "dead", "expired", "erased")
        if counts[name] or name in ("delivered", "dead")
    ]
    parts = [(name, counts[name]) for name in STATUSES if counts[name] and name in counts]
    breakdown = " + ".join(f"{number(count)} {STATUSES[name].label.lower()}" for name, count in parts)
    total = f"{number(counts['accepted'])} accepted"
    return Pipeline(received, waiting, ended, f"{total} = {breakdown}" if breakdown else total)


def _stage(name: str, count: int) -> PipelineStage:
    status = STATUSES[name]
    return PipelineStage(
        status.label, number(count), count > 0, status.tone if count else "quiet", status.meaning, name
    )


@dataclass(frozen=True, slots=True)
class RejectionCause:
    """A reason with its count and its remedy."""

    reason: str
    code: str
    count: str
    share: str
    remedy: str


def causes(rows: Sequence[Mapping[str, Any]]) -> list[RejectionCause]:
    """Return the reasons in the API's statistics, most frequent first."""
    total = sum(row["count"] for row in rows)
    return [
        RejectionCause(
            row["reason"],
            row["code"],
            number(row["count"]),
            share(row["count"], total),
            REASONS[row["reason"]].remedy if row["reason"] in REASONS else "",
        )
        for row in sorted(rows, key=lambda row: -row["count"])
    ]


@dataclass(frozen=True, slots=True)
class Gauge:
    """One value about the lane, its meaning and its tone. `at` is a time to show."""

    label: str
    value: str
    meaning: str
    tone: str = "quiet"
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LaneInput:
    """Input of the gauges: state and statistics in the API's form, and the newest requests, newest first."""

    state: str
    stats: Mapping[str, Any]
    about: ConnectionInfo
    requests: Sequence[RequestRow]
    failures: FailureRun | None
    now: datetime

    @property
    def hold(self) -> str | None:
        """Return why nothing is sent, or None."""
        return _HOLDS.get(self.state)


_HOLDS = {
    "paused": "Nothing is sent while the destination is paused.",
    "needs_reconnect": "Nothing is sent until the destination is reconnected.",
    "archived": "Nothing is sent for a deleted destination.",
}


def lane(facts: LaneInput) -> list[Gauge]:
    """Return the gauges of the lane: rate, throttle, breaker, worker, token, backlog, first expiry."""
    return [
        _rate(facts),
        _throttle(facts),
        _breaker(facts),
        _worker(facts),
        _token(facts),
        _backlog(facts.stats),
        _first_expiry(facts),
    ]


def _rate(facts: LaneInput) -> Gauge:
    limit, learned_rate = facts.stats["rate_limit"], facts.stats["learned_rate"]
    is_slower = learned_rate is not None and learned_rate < limit["requests_per_second"] * 0.95
    others = facts.about.lane_shared_by - 1
    meaning = (
        f"Adaptive rate, configured maximum {number(limit['requests_per_second'])} requests/s, "
        f"burst {limit['burst']}."
    )
    if others:
        plural = "" if others == 1 else "s"
        meaning += f" Shared with {others} other destination{plural} of this advertiser."
    value = f"{number(round(learned_rate or limit['requests_per_second'], 1))} / s"
    return Gauge("Rate", value, meaning, "warn" if is_slower else "quiet")


def _throttle(facts: LaneInput) -> Gauge:
    until = facts.about.blocked_until
    if facts.hold is not None:
        return Gauge("Throttle", "not in use", facts.hold)
    if until is not None and until > facts.now:
        return Gauge("Throttle", "waiting until", "Amazon asked us to wait.", "warn", until)
    if facts.failures is not None and facts.requests and facts.requests[0].outcome == "throttled":
        return Gauge(
            "Throttle", "slowed", "The newest request got HTTP 429, so the rate was lowered.", "warn"
        )
    return Gauge("Throttle", "off", "Amazon has not asked us to wait.", "good")


def _breaker(facts: LaneInput) -> Gauge:
    if facts.hold is not None:
        return Gauge("Circuit breaker", "not in use", facts.hold)
    breaker = facts.stats.get("breaker") or {"state": "closed", "error_rate": 0.0}
    state = breaker["state"]
    meaning = {
        "closed": "Requests are sent at the current rate.",
        "open": "Too many failures: sending is paused except for periodic probes.",
        "half_open": "A probe request is in flight. If it succeeds, sending resumes.",
    }[state]
    failing = facts.failures.requests if facts.failures is not None else 0
    if failing:
        failed = (
            "The last request failed." if failing == 1 else f"The last {number(failing)} requests failed."
        )
        meaning = f"{meaning} {failed} A 429 does not count towards the breaker."
    else:
        meaning = f"{meaning} Recent failures: {share(round(breaker['error_rate'] * 1000), 1000)}."
    tone = {"closed": "warn" if failing else "good", "open": "bad", "half_open": "warn"}[state]
    value = {"closed": "normal", "open": "tripped", "half_open": "probing"}[state]
    return Gauge("Circuit breaker", value, meaning, tone)


def _worker(facts: LaneInput) -> Gauge:
    if facts.hold is not None:
        return Gauge("Worker", "idle" if facts.stats["lane_owned"] else "none", facts.hold)
    if facts.stats["lane_owned"]:
        return Gauge("Worker", "assigned", "A delivery worker is assigned.", "good")
    meaning = "No delivery worker is assigned. Normal while no events wait."
    return Gauge("Worker", "none", meaning, "bad" if facts.stats["waiting"] else "quiet")


def _token(facts: LaneInput) -> Gauge:
    until = facts.about.access_until
    if facts.state == "needs_reconnect":
        return Gauge("Access token", "not usable", "Amazon does not accept it. Reconnect.", "bad")
    if until is None:
        return Gauge("Access token", "none", "Not connected to Amazon.")
    if until <= facts.now:
        return Gauge("Access token", "idle", "Refreshed when there are events to send.")
    return Gauge("Access token", "valid until", "Refreshed automatically before then.", "good", until)


def _backlog(stats: Mapping[str, Any]) -> Gauge:
    oldest, waiting = stats["oldest_waiting_seconds"], stats["waiting"]
    if not waiting:
        return Gauge("Backlog", "none", "No events wait.")
    which = "the one waiting event" if waiting == 1 else f"the oldest of {number(waiting)} waiting events"
    return Gauge("Backlog", age(oldest), f"Age of {which}.", "warn" if (oldest or 0) > 60 else "quiet")


def _first_expiry(facts: LaneInput) -> Gauge:
    expiry = moment(facts.stats["earliest_expiry_at"])
    if expiry is None:
        return Gauge("First expiry", "–", "No events wait.")
    is_soon = expiry - facts.now < timedelta(days=2)
    meaning = "The oldest waiting event reaches Amazon's age limit at this time."
    return Gauge("First expiry", "soon" if is_soon else "", meaning, "bad" if is_soon else "quiet", expiry)


def charts(minutes: Sequence[ChartStep], now: datetime) -> dict[str, str]:
    """Return the columns of both charts as JSON: epoch seconds, then one list per line; gaps are null."""
    first = (now - SPAN).replace(second=0, microsecond=0)
    times = [first + STEP * index for index in range(int(SPAN / STEP) + 1)]
    steps = {minute.at: minute for minute in minutes}
    x = [int(time.timestamp()) for time in times]
    columns = [steps.get(time) for time in times]
    throughput = [
        x,
        [minute.delivered if minute else 0 for minute in columns],
        [minute.failed if minute else 0 for minute in columns],
    ]
    latency = [
        x,
        [_ms(minute.p50_ms) if minute else None for minute in columns],
        [_ms(minute.p95_ms) if minute else None for minute in columns],
    ]
    return {"throughput": json.dumps(throughput), "latency": json.dumps(latency)}


def _ms(value: float | None) -> int | None:
    return None if value is None else round(value)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Share of the sampled events that include a match key, with its trend."""

    label: str
    share: str
    percent: int
    spark: str


_WIRE = {rule.type.value: rule.field for rule in MATCH_KEYS}
_POINTS = 12


def coverage(shapes: Sequence[EventMetadata]) -> list[Coverage]:
    """Return the coverage of each match key in the samples; `shapes` is newest first."""
    if not shapes:
        return []
    fields = [{_WIRE.get(key, key) for key in shape.match_keys} for shape in reversed(shapes)]
    size = max(1, len(fields) // _POINTS)
    groups = [fields[start : start + size] for start in range(0, len(fields), size)]
    present_keys = [name for name in MATCH_KEY_FIELDS if any(name in keys for keys in fields)]
    rows = []
    for name in present_keys:
        count = sum(name in keys for keys in fields)
        trend = [round(100 * sum(name in keys for keys in group) / len(group)) for group in groups]
        rows.append(
            Coverage(
                FIELDS[name].label,
                share(count, len(fields)),
                round(100 * count / len(fields)),
                line([*trend, trend[-1]] if len(trend) == 1 else trend) if any(trend) else "",
            )
        )
    return sorted(rows, key=lambda row: -row.percent)


def sample_span(moments: Sequence[datetime]) -> tuple[datetime, datetime] | None:
    """Return the oldest and newest of times (newest first), or None if they are under two seconds apart."""
    if not moments or moments[0] - moments[-1] < timedelta(seconds=2):
        return None
    return moments[-1], moments[0]


@dataclass(frozen=True, slots=True)
class EventsManagerHint:
    """Whether Amazon's Events manager shows the delivered events yet (R14)."""

    tone: str
    sentence: str
    since: datetime | None
    percent: int


_EVENTS_MANAGER_DELAY = timedelta(hours=2)


def events_manager_hint(first: datetime | None, now: datetime) -> EventsManagerHint:
    """Return whether "No activity yet" is expected; `first` is the time of the first accepted event."""
    if first is None:
        return EventsManagerHint(
            "quiet",
            "Amazon has not received events from this destination yet, so Events manager shows “No activity "
            "yet”. This is expected.",
            None,
            0,
        )
    elapsed = now - first
    if elapsed < _EVENTS_MANAGER_DELAY:
        return EventsManagerHint(
            "warn",
            "Amazon has accepted events. Events manager takes up to two hours to count them: "
            f"“No activity yet” is normal for {age((_EVENTS_MANAGER_DELAY - elapsed).total_seconds())} more.",
            first,
            max(1, round(100 * elapsed / _EVENTS_MANAGER_DELAY)),
        )
    return EventsManagerHint(
        "good",
        "Events manager should show counts. If it still shows “No activity yet”, check that it has the same "
        "advertiser, region and dataset selected, and that you are not on the tab “Amazon ad tag events”.",
        first,
        100,
    )
