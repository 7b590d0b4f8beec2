"""Diagnose a destination: what is wrong and what to do. The first rule that applies wins.

Also the gauges of its lane, which show the facts of the diagnosis. Pure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from app.admin.destinations.preflight import currency_differs, why_unusable
from app.admin.destinations.stats import DestinationStats, DiagnosisFacts
from app.console.wording import age, events, failed_requests, number, reason_words, remedy, share, state_key
from app.domain.incidents.kinds import FAILURES, SIGN_IN, failure_of, failure_sentence
from app.domain.outcomes.settle import PROBE_EVERY
from app.domain.quantity import quantity
from app.store.destinations.destinations import Destination


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong and what to do. `action` selects the button.

    `since` is when the condition began, if known. `next_at` is when the next request is sent.
    """

    tone: str
    headline: str
    remedy: str
    since: datetime | None = None
    action: str | None = None
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DiagnosisInput:
    """The input of the rules. Requests are newest first; reasons are most frequent first.

    `facts.failures` describes the requests that failed since the last success. It is None if none failed.
    """

    destination: Destination
    stats: DestinationStats
    facts: DiagnosisFacts
    now: datetime


_RECENT = timedelta(minutes=1)


def diagnose(given: DiagnosisInput) -> Diagnosis:
    """Return the diagnosis of the first rule that applies."""
    found = (rule(given) for rule in _RULES)
    return next(diagnosis for diagnosis in found if diagnosis is not None)


_STATES = {
    "archived": Diagnosis("quiet", "This destination was deleted.", "Its history remains readable."),
    "draft": Diagnosis("quiet", "Not connected to Amazon yet.", "Connect and click Allow.", action="connect"),
    "connected": Diagnosis(
        "quiet",
        "Connected, but no mapping is published yet.",
        "Publish a mapping to start receiving events.",
        action="mapping",
    ),
    "paused": Diagnosis("warn", "Delivery is paused.", "Resume to continue.", action="resume"),
    "suspended": Diagnosis(
        "warn",
        "The organisation is suspended.",
        "New events are rejected, and nothing is sent until the operator of this service resumes the "
        "organisation on the page Organisations.",
    ),
}


def _state(given: DiagnosisInput) -> Diagnosis | None:
    waiting, state = given.stats.waiting, given.destination.state
    is_unknown = given.destination.sign_in_reason == "endpoint_not_found"
    place = "on hold" if state == "paused" else "waiting" if is_unknown else "waiting for the sign-in"
    backlog = f" {quantity(waiting, 'event is', 'events are')} {place} (none lost)." if waiting else ""
    expiry = given.stats.earliest_expiry_at
    if waiting and expiry is not None:
        backlog += f" The oldest expires in {age((expiry - given.now).total_seconds())}."
    if state == "needs_reconnect":
        cause = SIGN_IN[given.destination.sign_in_reason or "revoked"]
        return Diagnosis(
            "bad",
            cause.headline,
            cause.remedy + backlog,
            given.facts.about.broken_since,
            "settings" if is_unknown else "connect",
            _next_attempt(given) if is_unknown else None,
        )
    found = _STATES.get(state_key(given.destination))
    if found is not None and state == "paused":
        return replace(found, remedy=found.remedy + backlog, since=given.facts.about.paused_since)
    return found


def _no_worker(given: DiagnosisInput) -> Diagnosis | None:
    oldest = given.stats.oldest_waiting_seconds
    if given.stats.waiting and not given.stats.lane_owned and (oldest or 0) > 15:
        return Diagnosis(
            "bad",
            f"No delivery worker is running for this advertiser. The oldest event has waited {age(oldest)}.",
            "Start a worker, or check why it stopped.",
        )
    return None


def _failing_requests(given: DiagnosisInput) -> Diagnosis | None:
    if given.facts.failures is None or not given.facts.requests:
        return None
    newest, run = given.facts.requests[0], given.facts.failures
    # If no event waits, the dead letters already show the effect of a rejected request.
    if not (given.stats.waiting or newest.outcome == "unexpected"):
        return None
    reason = failure_of(newest.outcome, newest.http_status)
    tone = "warn" if newest.outcome in ("throttled", "unauthorized") else "bad"
    sentence = failure_sentence(reason, newest.http_status)
    return Diagnosis(
        tone,
        f"{sentence} {failed_requests(run.requests)}",
        FAILURES[reason].remedy,
        run.since,
        "retry" if given.stats.waiting and newest.outcome != "throttled" else None,
        _next_attempt(given),
    )


def _next_attempt(given: DiagnosisInput) -> datetime | None:
    at = given.facts.next_attempt_at
    return at if at is not None and at > given.now else None


def _often_throttled(given: DiagnosisInput) -> Diagnosis | None:
    # Older requests say nothing about the current state.
    requests = [each for each in given.facts.requests if given.now - each.started_at <= _RECENT]
    throttled = [request for request in requests if request.outcome == "throttled"]
    if not given.stats.waiting or len(requests) < 5 or len(throttled) * 5 < len(requests):
        return None
    rate = given.stats.learned_rate
    current_rate = f" Current rate: {number(round(rate, 1))} requests per second." if rate else ""
    return Diagnosis(
        "warn",
        f"Amazon is rate-limiting requests: {len(throttled)} of {len(requests)} requests of the last minute "
        "returned 429.",
        "No action needed: the rate adapts automatically." + current_rate,
    )


def _dead(given: DiagnosisInput) -> Diagnosis | None:
    """Return a diagnosis if dead letters are open: they were neither replayed nor dismissed."""
    if not given.facts.open_dead_letters:
        return None
    dead = sum(count for _, count in given.facts.open_dead_letters)
    top_cause = given.facts.open_dead_letters[0][0]
    them = "it" if dead == 1 else "them"
    advice = remedy(top_cause) or "Open the events to see why."
    return Diagnosis(
        "bad",
        f"{events(dead)} failed permanently. {'Reason' if dead == 1 else 'Most common reason'}: "
        f"{reason_words(top_cause)}.",
        f"{advice} Replay {them} if Amazon would now accept the same data; otherwise dismiss {them}.",
        action="dead",
    )


def _rejected(given: DiagnosisInput) -> Diagnosis | None:
    """Return a diagnosis if many events of the last hour were rejected. Earlier rejections do not count."""
    rejected = given.facts.rejected_in_hour
    total = given.facts.received_in_hour
    if not given.facts.recent_rejections or not rejected or rejected * 20 < total:
        return None
    _, top_cause, _ = given.facts.recent_rejections[0]
    return Diagnosis(
        "warn",
        f"{share(rejected, total)} of the events of the last hour were rejected on receipt. Most common "
        f"reason: {reason_words(top_cause)}.",
        remedy(top_cause) or "See the reasons below.",
        action="rejected",
    )


def _expired(given: DiagnosisInput) -> Diagnosis | None:
    expired = given.facts.expired_in_day
    if not expired:
        return None
    return Diagnosis(
        "bad",
        f"{events(expired)} expired before delivery in the last 24 hours: older than Amazon accepts.",
        "Send events sooner after they occur, and reconnect or resume before they expire.",
        action="expired",
    )


def _blocked(given: DiagnosisInput) -> Diagnosis | None:
    until = given.facts.about.blocked_until
    if until is None or until <= given.now or not given.stats.waiting:
        return None
    left = age((until - given.now).total_seconds())
    return Diagnosis("warn", f"Amazon limited the rate. Sending resumes in {left}.", "No action needed.")


def _other_currency(given: DiagnosisInput) -> Diagnosis | None:
    own, actual = given.destination.currency, given.facts.about.account_currency
    if actual is None or actual == own:
        return None
    why_not = why_unusable(actual)
    advice = why_not or f"Change the destination to {actual}."
    return Diagnosis(
        "warn",
        currency_differs(actual, own),
        f"Purchases whose event has no currency are sent in {own}. {advice}",
        action=None if why_not else "currency",
    )


def _nothing_yet(given: DiagnosisInput) -> Diagnosis | None:
    if given.stats.counts.accepted or given.stats.counts.rejected:
        return None
    return Diagnosis(
        "quiet",
        "Ready. No events received yet.",
        "Attach the destination to a journey, or send a test event.",
        action="activate",
    )


def _healthy(given: DiagnosisInput) -> Diagnosis:
    waiting = given.stats.waiting
    delivered = f"{quantity(waiting, 'event is', 'events are')} being delivered."
    state = delivered if waiting else "No events are waiting."
    return Diagnosis("good", f"Healthy. {state}", "No action needed.")


_RULES: Sequence[Callable[[DiagnosisInput], Diagnosis | None]] = (
    _state,
    _no_worker,
    _failing_requests,
    _blocked,
    _often_throttled,
    _dead,
    _expired,
    _rejected,
    _other_currency,
    _nothing_yet,
    _healthy,  # always applies
)


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
    if breaker.state == "open" and (at := _next_attempt(given)) is not None:
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
