"""Compare facts about a destination or the service with thresholds, and return the problems found."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from app.domain.incidents.destination_condition import UNANSWERED_AFTER
from app.domain.incidents.kinds import Kind
from app.domain.incidents.thresholds import (
    AgeThreshold,
    Alerting,
    EventsThreshold,
    ExpiryThreshold,
    FailingThreshold,
    RejectionsThreshold,
    Threshold,
    VolumeThreshold,
)

# `broken`: status 5xx or an unreadable response. `lost`: a timeout or a lost connection.
FAILED_OUTCOMES: Final = frozenset({"broken", "lost"})
FORBIDDEN_REASONS: Final = frozenset({"forbidden", "endpoint_not_found"})
MIN_DAYS_OF_VOLUME: Final = 7
EXPIRY_GRACE: Final = timedelta(seconds=5)  # an event that is old on receipt may be delivered immediately


@dataclass(frozen=True, slots=True)
class DestinationFacts:
    """What is known about a destination at one time: counts and times, no personal data."""

    sign_in_reason: str | None = None  # why the sign-in to Amazon is lost
    requests: int = 0  # with a result, within the window of the threshold for `failing`
    failed_requests: int = 0
    last_outcome: str | None = None  # of the last request with a result
    unanswered_since: datetime | None = None  # start of the oldest request in progress
    breaker_open_for: timedelta = timedelta(0)
    blocked: bool = False
    oldest_live_at: datetime | None = None
    oldest_waiting_at: datetime | None = None
    waiting_events: int = 0
    # Events that expire within the threshold for `expiring`: the first expiry, the start of the wait, and the
    # number of these events.
    first_expiry_at: datetime | None = None
    expiring_since: datetime | None = None
    expiring_events: int = 0
    dead_open: int = 0
    oldest_dead_at: datetime | None = None
    received: int = 0  # within the window of the threshold for `rejections`
    rejected: int = 0
    rejected_recently: int = 0  # within the last ten seconds
    last_hour: int = 0  # events received in the last complete hour
    same_hours: Sequence[int] = ()  # events received in the same hour of each day before
    days_of_volume: int = 0


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What is known about the service at one time."""

    without_worker_for: timedelta = timedelta(0)
    waiting_events: int = 0
    oldest_waiting_at: datetime | None = None
    slow_commits_for: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """The thresholds for incidents of the service. A problem must last at least this long."""

    without_worker: timedelta = timedelta(seconds=60)
    slow_commits: timedelta = timedelta(seconds=60)
    channel_failing: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem found now. `summary` contains no name of a destination and no text from Amazon."""

    kind: Kind
    summary: str
    affected_events: int = 0
    oldest_event_at: datetime | None = None
    expires_at: datetime | None = None


def _sign_in_lost(facts: DestinationFacts, _limit: Threshold, _now: datetime) -> Finding | None:
    if facts.sign_in_reason is None or facts.sign_in_reason in FORBIDDEN_REASONS:
        return None
    text = f"Amazon no longer accepts the sign-in ({facts.sign_in_reason})."
    if facts.sign_in_reason == "disconnected":
        text = "The destination was disconnected from Amazon while events wait."
    return _waiting(Kind.SIGN_IN_LOST, text, facts)


def _amazon_forbidden(facts: DestinationFacts, _limit: Threshold, _now: datetime) -> Finding | None:
    if facts.sign_in_reason not in FORBIDDEN_REASONS:
        return None
    text = (
        "Amazon denies access to the advertiser account (403 forbidden)."
        if facts.sign_in_reason == "forbidden"
        else "Amazon does not know the endpoint or advertiser account (404 endpoint_not_found)."
    )
    return _waiting(Kind.AMAZON_FORBIDDEN, text, facts)


def _failing(facts: DestinationFacts, limit: Threshold, now: datetime) -> Finding | None:
    assert isinstance(limit, FailingThreshold)
    # The window still contains the failures of a fault that is over.
    is_over = facts.last_outcome not in FAILED_OUTCOMES
    if is_over and facts.breaker_open_for == timedelta(0):
        return None
    if facts.requests >= limit.min_requests and facts.failed_requests >= limit.share * facts.requests:
        text = f"{facts.failed_requests} of {facts.requests} requests to Amazon failed."
        return _waiting(Kind.FAILING, text, facts)
    if facts.breaker_open_for >= timedelta(seconds=limit.breaker_seconds):
        return _waiting(Kind.FAILING, "Requests to Amazon fail; the circuit breaker is open.", facts)
    # While Amazon hangs, the requests with a result are too few for the share. One slow request after a
    # success is no failure.
    if facts.unanswered_since is not None and now - facts.unanswered_since > UNANSWERED_AFTER:
        return _waiting(Kind.FAILING, "Amazon does not answer requests.", facts)
    return None


def _throttled(facts: DestinationFacts, limit: Threshold, now: datetime) -> Finding | None:
    assert isinstance(limit, AgeThreshold)
    is_throttled = facts.blocked or facts.last_outcome == "throttled"
    if not is_throttled or facts.oldest_live_at is None:
        return None
    if now - facts.oldest_live_at <= timedelta(minutes=limit.minutes):
        return None
    text = f"Amazon responds 429; events wait for more than {_minutes(limit.minutes)}."
    return _waiting(Kind.THROTTLED, text, facts)


def _backlog(facts: DestinationFacts, limit: Threshold, now: datetime) -> Finding | None:
    assert isinstance(limit, AgeThreshold)
    oldest = facts.oldest_waiting_at
    if oldest is None or now - oldest <= timedelta(minutes=limit.minutes):
        return None
    text = f"The oldest waiting event is older than {_minutes(limit.minutes)}."
    return _waiting(Kind.BACKLOG, text, facts)


def _expiring(facts: DestinationFacts, limit: Threshold, now: datetime) -> Finding | None:
    assert isinstance(limit, ExpiryThreshold)
    expiry, since = facts.first_expiry_at, facts.expiring_since
    if expiry is None or since is None or now - since < EXPIRY_GRACE:
        return None
    if expiry - now > timedelta(hours=limit.hours):
        return None
    return Finding(
        Kind.EXPIRING,
        f"Waiting events reach Amazon's age limit within {limit.hours:g} hours.",
        facts.expiring_events,
        facts.oldest_waiting_at,
        expiry,
    )


def _dead_letters(facts: DestinationFacts, limit: Threshold, _now: datetime) -> Finding | None:
    assert isinstance(limit, EventsThreshold)
    if facts.dead_open < limit.min_events:
        return None
    text = f"{_events(facts.dead_open)} failed permanently."
    return Finding(Kind.DEAD_LETTERS, text, facts.dead_open, facts.oldest_dead_at)


def _rejections(facts: DestinationFacts, limit: Threshold, _now: datetime) -> Finding | None:
    assert isinstance(limit, RejectionsThreshold)
    if not facts.rejected_recently:
        return None
    if facts.received < limit.min_events or facts.rejected < limit.share * facts.received:
        return None
    text = f"{facts.rejected} of {_events(facts.received)} were rejected on receipt."
    return Finding(Kind.REJECTIONS, text, facts.rejected)


def _volume_drop(facts: DestinationFacts, limit: Threshold, _now: datetime) -> Finding | None:
    assert isinstance(limit, VolumeThreshold)
    if facts.days_of_volume < MIN_DAYS_OF_VOLUME or len(facts.same_hours) < MIN_DAYS_OF_VOLUME:
        return None
    usual = median(facts.same_hours)
    if usual < limit.min_events or facts.last_hour >= limit.share * usual:
        return None
    text = f"{_events(facts.last_hour)} in the last hour; the median of this hour is {usual:g}."
    return Finding(Kind.VOLUME_DROP, text)


Condition = Callable[[DestinationFacts, Threshold, datetime], Finding | None]

CONDITIONS: Final[Mapping[Kind, Condition]] = {
    Kind.SIGN_IN_LOST: _sign_in_lost,
    Kind.AMAZON_FORBIDDEN: _amazon_forbidden,
    Kind.FAILING: _failing,
    Kind.THROTTLED: _throttled,
    Kind.BACKLOG: _backlog,
    Kind.EXPIRING: _expiring,
    Kind.DEAD_LETTERS: _dead_letters,
    Kind.REJECTIONS: _rejections,
    Kind.VOLUME_DROP: _volume_drop,
}


def destination_findings(facts: DestinationFacts, alerting: Alerting, now: datetime) -> list[Finding]:
    """Return the current problems of a destination, without the kinds that its operator disabled."""
    found = (
        condition(facts, alerting.of(kind), now)
        for kind, condition in CONDITIONS.items()
        if alerting.of(kind).enabled
    )
    return [finding for finding in found if finding is not None]


def service_findings(facts: ServiceFacts, limits: ServiceLimits) -> Iterator[Finding]:
    """Yield the current problems of the service."""
    if facts.without_worker_for >= limits.without_worker:
        yield Finding(
            Kind.NO_WORKER,
            "Events wait and no worker delivers them.",
            facts.waiting_events,
            facts.oldest_waiting_at,
        )
    if facts.slow_commits_for >= limits.slow_commits:
        yield Finding(Kind.DATABASE_SLOW, "Commits to the database take more than a second.")


def channel_finding(failing: Mapping[str, timedelta], limits: ServiceLimits) -> Finding | None:
    """Return the problem of an organisation's notification channels, or None.

    `failing` maps the name of each failing channel to how long it has failed.
    """
    names = sorted(name for name, lasted in failing.items() if lasted >= limits.channel_failing)
    if not names:
        return None
    return Finding(Kind.NOTIFICATIONS_FAILING, f"Channels do not accept messages: {', '.join(names)}.")


def _waiting(kind: Kind, text: str, facts: DestinationFacts) -> Finding:
    return Finding(kind, text, facts.waiting_events, facts.oldest_waiting_at)


def _minutes(number: float) -> str:
    return f"{number:g} {'minute' if number == 1 else 'minutes'}"


def _events(number: int) -> str:
    return f"{number:,} {'event' if number == 1 else 'events'}"
