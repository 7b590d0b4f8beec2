"""Views of a destination's page: event counts, delivery health, match keys. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.admin.destinations.overview import MatchKeySample
from app.admin.destinations.stats import DestinationStats
from app.console.destinations.sparkline import line
from app.console.wording import STATUSES, age, number, share
from app.domain.identity import MATCH_KEYS
from app.domain.mapping.fields import FIELDS, MATCH_KEY_FIELDS
from app.domain.outcomes.missing_endpoint import PROBE_EVERY
from app.domain.outcomes.reasons import REASONS
from app.domain.outcomes.status import WAITING, EventCounts
from app.store.destinations.figures import ConnectionInfo, FailureRun, RequestRow
from app.store.destinations.outcome_history import OutcomeBucket


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure of the page. `address` opens the list of the counted events; None means that there is no such
    list.

    The address is relative to the destination's page.
    """

    label: str
    count: str
    nonzero: bool
    tone: str
    meaning: str
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Tiles:
    """Figures of the chosen range, and current figures.

    `total` counts all events since the destination was created.
    """

    received: Sequence[Tile]
    ended: Sequence[Tile]
    now: Sequence[Tile]
    total: str


_ENDED = {
    "delivered": "Amazon accepted them in this range.",
    "dead": "They failed permanently in this range. Some may have been replayed or erased since.",
    "expired": "They passed Amazon's age limit in this range. Some may have been replayed or erased since.",
}


def tiles(counts: EventCounts, dead_open: int, history: Sequence[OutcomeBucket], range_name: str) -> Tiles:
    """Return the tiles. `counts` are the current counts; `history` contains the buckets of the range."""
    received = (
        _tile("Accepted", history, "accepted", "good", "Stored on disk before the journey got its response."),
        _tile(
            "Rejected",
            history,
            "rejected",
            "bad",
            "The response to the journey has the reason.",
            f"/rejections?range={range_name}",
        ),
        _tile("Duplicates", history, "duplicates", "quiet", "Already received, so not stored again."),
    )
    ended = [
        _tile(
            STATUSES[name].label,
            history,
            name,
            STATUSES[name].tone,
            # What happened in the range; the events may have another status now, so no list shows them.
            meaning,
        )
        for name, meaning in _ENDED.items()
    ]
    waiting = [
        _count_tile(
            STATUSES[name].label,
            getattr(counts, name),
            STATUSES[name].tone,
            STATUSES[name].meaning,
            f"/events?status={name}",
        )
        for name in WAITING
    ]
    open_tile = _count_tile(
        "Open failures",
        dead_open,
        "bad",
        "Failed permanently, neither replayed nor dismissed.",
        "/events?status=dead&dismissed=false",
    )
    parts = [(name, count) for name in STATUSES if (count := getattr(counts, name, 0))]
    breakdown = " + ".join(f"{number(count)} {STATUSES[name].label.lower()}" for name, count in parts)
    total = f"{number(counts.accepted)} accepted"
    return Tiles(received, ended, [*waiting, open_tile], f"{total} = {breakdown}" if breakdown else total)


def _tile(
    label: str,
    history: Sequence[OutcomeBucket],
    name: str,
    tone: str,
    meaning: str,
    address: str | None = None,
) -> Tile:
    return _count_tile(label, sum(getattr(bucket, name) for bucket in history), tone, meaning, address)


def _count_tile(label: str, count: int, tone: str, meaning: str, address: str | None = None) -> Tile:
    return Tile(label, number(count), count > 0, tone if count else "quiet", meaning, address)


@dataclass(frozen=True, slots=True)
class RejectionCause:
    """A reason for rejections, with its count and its remedy."""

    reason: str
    code: str
    count: str
    share: str
    remedy: str


def causes(counted: Sequence[tuple[str, str, int]]) -> list[RejectionCause]:
    """Return the reasons, given as (code, reason, count), most frequent first."""
    total = sum(count for _, _, count in counted)
    return [
        RejectionCause(
            reason,
            code,
            number(count),
            share(count, total),
            REASONS[reason].remedy if reason in REASONS else "",
        )
        for code, reason, count in sorted(counted, key=lambda each: -each[2])
    ]


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value of the lane, with its meaning and its tone. `at` is a time that the page shows with it."""

    label: str
    value: str
    meaning: str
    tone: str = "quiet"
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LaneInput:
    """The input of the gauges: state, statistics, and the newest requests (newest first)."""

    state: str
    stats: DestinationStats
    about: ConnectionInfo
    requests: Sequence[RequestRow]
    failures: FailureRun | None
    now: datetime

    @property
    def hold(self) -> str | None:
        """The reason why nothing is sent, or None if events are sent."""
        return _HOLDS.get(self.state)


_HOLDS = {
    "paused": "Nothing is sent while the destination is paused.",
    "suspended": "Nothing is sent while the organisation is suspended.",
    "needs_reconnect": "Nothing is sent until the destination is reconnected.",
    "endpoint_not_found": f"One request is sent {PROBE_EVERY} until Amazon stops answering 404.",
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
    limit, learned_rate = facts.stats.rate_limit, facts.stats.learned_rate
    is_slower = learned_rate is not None and learned_rate < limit.requests_per_second * 0.95
    others = facts.about.lane_shared_with
    meaning = (
        f"Adaptive rate, configured maximum {number(limit.requests_per_second)} requests/s, "
        f"burst {limit.burst}."
    )
    if others:
        plural = "" if others == 1 else "s"
        meaning += f" Shared with {others} other destination{plural} of this advertiser."
    if facts.stats.shared_account:
        meaning += (
            " Another organisation uses this advertiser too. Amazon's own limit applies to both together."
        )
    value = f"{number(round(learned_rate or limit.requests_per_second, 1))} / s"
    return Gauge("Rate", value, meaning, "warn" if is_slower else "quiet")


def _throttle(facts: LaneInput) -> Gauge:
    until = facts.about.blocked_until
    if facts.hold is not None:
        return Gauge("Throttle", "not in use", facts.hold)
    if until is not None and until > facts.now:
        return Gauge("Throttle", "waiting until", "Amazon limited the rate (HTTP 429).", "warn", until)
    if facts.failures is not None and facts.requests and facts.requests[0].outcome == "throttled":
        return Gauge(
            "Throttle", "slowed", "The newest request got HTTP 429, so the rate was lowered.", "warn"
        )
    return Gauge("Throttle", "off", "Amazon does not limit the rate now.", "good")


def _breaker(facts: LaneInput) -> Gauge:
    if facts.hold is not None:
        return Gauge("Circuit breaker", "not in use", facts.hold)
    breaker = facts.stats.breaker
    state = breaker.state
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
        meaning = f"{meaning} Recent failures: {share(round(breaker.error_rate * 1000), 1000)}."
    tone = {"closed": "warn" if failing else "good", "open": "bad", "half_open": "warn"}[state]
    value = {"closed": "normal", "open": "tripped", "half_open": "probing"}[state]
    return Gauge("Circuit breaker", value, meaning, tone)


def _worker(facts: LaneInput) -> Gauge:
    if facts.hold is not None:
        return Gauge("Worker", "idle" if facts.stats.lane_owned else "none", facts.hold)
    if facts.stats.lane_owned:
        return Gauge("Worker", "assigned", "A delivery worker is assigned.", "good")
    meaning = "No delivery worker is assigned. This is normal while no events wait."
    return Gauge("Worker", "none", meaning, "bad" if facts.stats.waiting else "quiet")


def _token(facts: LaneInput) -> Gauge:
    until = facts.about.access_until
    if facts.state == "needs_reconnect":
        return Gauge(
            "Access token",
            "not usable",
            "Amazon does not accept the token for this advertiser. Reconnect.",
            "bad",
        )
    if until is None:
        return Gauge("Access token", "none", "Not connected to Amazon.")
    if until <= facts.now:
        return Gauge("Access token", "idle", "Refreshed when there are events to send.")
    return Gauge("Access token", "valid until", "Refreshed automatically before then.", "good", until)


def _backlog(stats: DestinationStats) -> Gauge:
    oldest, waiting = stats.oldest_waiting_seconds, stats.waiting
    if not waiting:
        return Gauge("Backlog", "none", "No events wait.")
    which = "the one waiting event" if waiting == 1 else f"the oldest of {number(waiting)} waiting events"
    return Gauge("Backlog", age(oldest), f"Age of {which}.", "warn" if (oldest or 0) > 60 else "quiet")


def _first_expiry(facts: LaneInput) -> Gauge:
    expiry = facts.stats.earliest_expiry_at
    if expiry is None:
        return Gauge("First expiry", "–", "No events wait.")
    is_soon = expiry - facts.now < timedelta(days=2)
    meaning = "The oldest waiting event reaches Amazon's age limit at this time."
    return Gauge("First expiry", "soon" if is_soon else "", meaning, "bad" if is_soon else "quiet", expiry)


@dataclass(frozen=True, slots=True)
class Coverage:
    """The share of the sampled events that contain a match key, and its trend by day in percent."""

    label: str
    share: str
    percent: int
    spark: str
    trend: str


_WIRE = {rule.type.value: rule.field for rule in MATCH_KEYS}


def coverage(samples: Sequence[MatchKeySample]) -> list[Coverage]:
    """Return the coverage of each match key. `samples` are by day, oldest first."""
    days = [
        [{_WIRE.get(key, key) for key in shape.match_keys} for shape in sample.shapes]
        for sample in samples
        if sample.shapes
    ]
    total = sum(len(day) for day in days)
    rows = []
    for name in MATCH_KEY_FIELDS:
        count = sum(name in keys for day in days for keys in day)
        if not count:
            continue
        trend = [round(100 * sum(name in keys for keys in day) / len(day)) for day in days]
        rows.append(
            Coverage(
                FIELDS[name].label,
                share(count, total),
                round(100 * count / total),
                line(trend) if len(trend) > 1 else "",
                "by day: " + ", ".join(f"{percent} %" for percent in trend),
            )
        )
    return sorted(rows, key=lambda row: -row.percent)


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
