"""Views of a destination's page: event counts, delivery, match keys. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.admin.destinations.stats import DestinationStats
from app.console.destinations.diagnosis_view import DiagnosisInput
from app.console.wording import STATUSES, age, failed_requests, number, share, state_key
from app.domain.outcomes.settle import PROBE_EVERY
from app.domain.outcomes.status import EventCounts
from app.domain.quantity import quantity
from app.store.destinations.outcome_history import OutcomeBucket


def totals(history: Sequence[OutcomeBucket]) -> dict[str, int]:
    """Return what happened to events in the buckets of a range, by the name of the count."""
    names = ("accepted", "rejected", "duplicates", "delivered", "dead", "expired")
    sums = {name: sum(getattr(bucket, name) for bucket in history) for name in names}
    return {"received": sums["accepted"] + sums["rejected"] + sums["duplicates"], **sums}


def composition(counts: EventCounts) -> str:
    """Return how the accepted events since the creation of the destination divide by status."""
    parts = [(status, count) for status in STATUSES if (count := getattr(counts, status, 0))]
    breakdown = " + ".join(f"{number(count)} {STATUSES[status].label.lower()}" for status, count in parts)
    return " = ".join(filter(None, (f"{number(counts.accepted)} accepted", breakdown)))


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value of the lane, with its meaning and its tone. `at` is a time that the page shows with it."""

    label: str
    value: str
    meaning: str
    tone: str = "quiet"
    at: datetime | None = None


_HOLDS = {
    "paused": "Nothing is sent while the destination is paused.",
    "suspended": "Nothing is sent while the organisation is suspended.",
    "needs_reconnect": "Nothing is sent until the destination is reconnected.",
    "endpoint_not_found": f"One request is sent {PROBE_EVERY} until Amazon stops answering 404.",
    "archived": "Nothing is sent for a deleted destination.",
}

# Labels of gauges that also exist while nothing is sent.
_THROTTLE: Final = "Throttle"
_CIRCUIT_BREAKER: Final = "Circuit breaker"
_WORKER: Final = "Worker"


def lane(given: DiagnosisInput) -> list[Gauge]:
    """Return the gauges of the lane: rate, throttle, breaker, worker, token, backlog, first expiry."""
    hold = _HOLDS.get(state_key(given.destination))  # why nothing is sent; None if events are sent
    if hold is None:
        sending = [_throttle(given), _breaker(given), _worker(given.stats)]
    else:
        worker = "idle" if given.stats.lane_owned else "none"
        values = {_THROTTLE: "not in use", _CIRCUIT_BREAKER: "not in use", _WORKER: worker}
        sending = [Gauge(label, value, hold) for label, value in values.items()]
    return [_rate(given), *sending, _token(given), _backlog(given.stats), _first_expiry(given)]


def _rate(given: DiagnosisInput) -> Gauge:
    limit, learned_rate = given.stats.rate_limit, given.stats.learned_rate
    is_slower = learned_rate is not None and learned_rate < limit.requests_per_second * 0.95
    others = given.facts.about.lane_shared_with
    meaning = (
        f"Adaptive rate, configured maximum {number(limit.requests_per_second)} requests/s, "
        f"burst {number(limit.burst)}."
    )
    if others:
        meaning += f" Shared with {quantity(others, 'other destination')} of this advertiser."
    if given.stats.shared_account:
        meaning += (
            " Another organisation uses this advertiser too. Amazon's own limit applies to both together."
        )
    value = f"{number(round(learned_rate or limit.requests_per_second, 1))} / s"
    return Gauge("Rate", value, meaning, "warn" if is_slower else "quiet")


def _throttle(given: DiagnosisInput) -> Gauge:
    facts, until = given.facts, given.facts.about.blocked_until
    if until is not None and until > given.now:
        return Gauge(_THROTTLE, "waiting until", "Amazon limited the rate (HTTP 429).", "warn", until)
    if facts.failures is not None and facts.requests and facts.requests[0].outcome == "throttled":
        meaning = "The newest request got HTTP 429, so the rate was lowered."
        return Gauge(_THROTTLE, "slowed", meaning, "warn")
    return Gauge(_THROTTLE, "off", "Amazon does not limit the rate now.", "good")


# The value, tone and meaning of each state of the circuit breaker.
_BREAKER = {
    "closed": ("normal", "good", "Requests are sent at the current rate."),
    "open": ("tripped", "bad", "Too many failures: sending is paused except for periodic probes."),
    "half_open": ("probing", "warn", "A probe request is in flight. If it succeeds, sending resumes."),
}


def _breaker(given: DiagnosisInput) -> Gauge:
    breaker = given.stats.breaker
    value, tone, meaning = _BREAKER[breaker.state]
    failing = given.facts.failures.requests if given.facts.failures is not None else 0
    if failing:
        tone = "warn" if breaker.state == "closed" else tone
        meaning = f"{meaning} {failed_requests(failing)} A 429 does not count towards the breaker."
    else:
        meaning = f"{meaning} Recent failures: {share(round(breaker.error_rate * 1000), 1000)}."
    if breaker.state == "open" and (at := given.facts.next_attempt_at) is not None and at > given.now:
        return Gauge(_CIRCUIT_BREAKER, "tripped until", meaning, tone, at)
    return Gauge(_CIRCUIT_BREAKER, value, meaning, tone)


def _worker(stats: DestinationStats) -> Gauge:
    if stats.lane_owned:
        return Gauge(_WORKER, "assigned", "A delivery worker is assigned.", "good")
    meaning = "No delivery worker is assigned. This is normal while no events wait."
    return Gauge(_WORKER, "none", meaning, "bad" if stats.waiting else "quiet")


def _token(given: DiagnosisInput) -> Gauge:
    until = given.facts.about.access_until
    if state_key(given.destination) == "needs_reconnect":
        meaning = "Amazon does not accept the token for this advertiser. Reconnect."
        return Gauge("Access token", "not usable", meaning, "bad")
    if until is None:
        return Gauge("Access token", "none", "Not connected to Amazon.")
    if until <= given.now:
        return Gauge("Access token", "idle", "Refreshed when there are events to send.")
    return Gauge("Access token", "valid until", "Refreshed automatically before then.", "good", until)


def _backlog(stats: DestinationStats) -> Gauge:
    oldest, waiting = stats.oldest_waiting_seconds, stats.waiting
    if not waiting:
        return Gauge("Backlog", "none", "No events wait.")
    which = "the one waiting event" if waiting == 1 else f"the oldest of {number(waiting)} waiting events"
    return Gauge("Backlog", age(oldest), f"Age of {which}.", "warn" if (oldest or 0) > 60 else "quiet")


def _first_expiry(given: DiagnosisInput) -> Gauge:
    expiry = given.stats.earliest_expiry_at
    if expiry is None:
        return Gauge("First expiry", "–", "No events wait.")
    is_soon = expiry - given.now < timedelta(days=2)
    meaning = "The oldest waiting event reaches Amazon's age limit at this time."
    return Gauge("First expiry", "soon" if is_soon else "", meaning, "bad" if is_soon else "quiet", expiry)


@dataclass(frozen=True, slots=True)
class EventsManagerHint:
    """Whether Amazon's Events manager shows the delivered events yet (R14)."""

    sentence: str
    percent: int


_EVENTS_MANAGER_DELAY = timedelta(hours=2)


def events_manager_hint(first: datetime | None, now: datetime) -> EventsManagerHint:
    """Return whether "No activity yet" is expected; `first` is the time of the first accepted event."""
    if first is None:
        sentence = (
            "Amazon has not received events from this destination yet, so Events manager shows “No activity "
            "yet”. This is expected."
        )
        return EventsManagerHint(sentence, 0)
    left = first + _EVENTS_MANAGER_DELAY - now
    if left > timedelta():
        sentence = (
            "Amazon has accepted events. Events manager takes up to two hours to count them: "
            f"“No activity yet” is normal for {age(left.total_seconds())} more."
        )
        return EventsManagerHint(sentence, max(1, round(100 - 100 * left / _EVENTS_MANAGER_DELAY)))
    sentence = (
        "Events manager should show counts. If it still shows “No activity yet”, check that it has the same "
        "advertiser, region and dataset selected, and that you are not on the tab “Amazon ad tag events”."
    )
    return EventsManagerHint(sentence, 100)
