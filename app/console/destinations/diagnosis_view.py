"""Diagnose a destination: what is wrong and what to do. The first rule that applies wins. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.admin.destinations.overview import RecentOutcomes
from app.admin.destinations.stats import DestinationStats
from app.console.wording import age, events, number, share
from app.domain.incidents.causes import FAILURES, SIGN_IN, failure_of, failure_sentence
from app.domain.outcomes.reasons import REASONS
from app.store.destinations.destinations import Destination
from app.store.destinations.figures import ConnectionInfo, FailureRun, RequestRow


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong and what to do. `action` selects the button.

    `since` is when the condition began, if known.
    """

    tone: str
    headline: str
    remedy: str
    since: datetime | None = None
    action: str | None = None


@dataclass(frozen=True, slots=True)
class DiagnosisInput:
    """The input of the rules. `requests` are the newest requests, newest first.

    `failures` describes the requests that failed since the last success. It is None if none failed.
    """

    destination: Destination
    stats: DestinationStats
    requests: Sequence[RequestRow]
    failures: FailureRun | None
    about: ConnectionInfo
    now: datetime
    open_dead_letters: Sequence[tuple[str, int]] = ()  # reasons and counts, most frequent first
    recent_rejections: Sequence[tuple[str, str, int]] = ()  # codes, reasons and counts, most frequent first
    recent_outcomes: RecentOutcomes = field(default_factory=RecentOutcomes)

    @property
    def recent(self) -> Sequence[RequestRow]:
        """The requests of the last minute. Older requests say nothing about the current state."""
        return [request for request in self.requests if self.now - request.started_at <= _RECENT]


_RECENT = timedelta(minutes=1)


def diagnose(facts: DiagnosisInput) -> Diagnosis:
    """Return the diagnosis of the first rule that applies."""
    for rule in _RULES:
        diagnosis = rule(facts)
        if diagnosis is not None:
            return diagnosis
    return _healthy(facts)


def _state(facts: DiagnosisInput) -> Diagnosis | None:
    waiting, state = facts.stats.waiting, facts.destination.state
    are = "is" if waiting == 1 else "are"
    is_unknown = facts.destination.sign_in_reason == "endpoint_not_found"
    place = "on hold" if state == "paused" else "waiting" if is_unknown else "waiting for the sign-in"
    backlog = f" {events(waiting)} {are} {place} (none lost)." if waiting else ""
    expiry = facts.stats.earliest_expiry_at
    if waiting and expiry is not None:
        backlog += f" The oldest expires in {age((expiry - facts.now).total_seconds())}."
    match state:
        case "archived":
            return Diagnosis("quiet", "This destination was deleted.", "Its history remains readable.")
        case "draft":
            return Diagnosis(
                "quiet", "Not connected to Amazon yet.", "Connect and click Allow.", action="connect"
            )
        case "needs_reconnect":
            cause = SIGN_IN[facts.destination.sign_in_reason or "revoked"]
            action = "settings" if is_unknown else "connect"
            return Diagnosis("bad", cause.headline, cause.remedy + backlog, facts.about.broken_since, action)
        case "paused" if facts.destination.suspended:
            return Diagnosis(
                "warn",
                "The organisation is suspended.",
                "New events are rejected, and nothing is sent until the operator of this service resumes the "
                "organisation on the page Organisations." + backlog,
                facts.about.paused_since,
            )
        case "paused":
            return Diagnosis(
                "warn",
                "Delivery is paused.",
                "Resume to continue." + backlog,
                facts.about.paused_since,
                "resume",
            )
        case "connected":
            return Diagnosis(
                "quiet",
                "Connected, but no mapping is published yet.",
                "Publish a mapping to start receiving events.",
                action="mapping",
            )
        case _:
            return None


def _no_worker(facts: DiagnosisInput) -> Diagnosis | None:
    oldest = facts.stats.oldest_waiting_seconds
    if facts.stats.waiting and not facts.stats.lane_owned and (oldest or 0) > 15:
        return Diagnosis(
            "bad",
            f"No delivery worker is running for this advertiser. The oldest event has waited {age(oldest)}.",
            "Start a worker, or check why it stopped.",
        )
    return None


def _failing_requests(facts: DiagnosisInput) -> Diagnosis | None:
    if facts.failures is None or not facts.requests:
        return None
    newest, run = facts.requests[0], facts.failures
    # If no event waits, the dead letters already show the effect of a rejected request.
    if not (facts.stats.waiting or newest.outcome == "unexpected"):
        return None
    reason = failure_of(newest.outcome, newest.http_status)
    failures = (
        "The last request failed."
        if run.requests == 1
        else f"The last {number(run.requests)} requests failed."
    )
    tone = "warn" if newest.outcome in ("throttled", "unauthorized") else "bad"
    sentence = failure_sentence(reason, newest.http_status)
    return Diagnosis(tone, f"{sentence} {failures}", FAILURES[reason].remedy, run.since)


def _often_throttled(facts: DiagnosisInput) -> Diagnosis | None:
    requests = facts.recent
    throttled = [request for request in requests if request.outcome == "throttled"]
    if not facts.stats.waiting or len(requests) < 5 or len(throttled) * 5 < len(requests):
        return None
    rate = facts.stats.learned_rate
    current_rate = f" Current rate: {number(round(rate, 1))} requests per second." if rate else ""
    return Diagnosis(
        "warn",
        f"Amazon is rate-limiting requests: {len(throttled)} of {len(requests)} requests of the last minute "
        "returned 429.",
        "No action needed: the rate adapts automatically." + current_rate,
    )


def _dead(facts: DiagnosisInput) -> Diagnosis | None:
    """Return a diagnosis if dead letters are open: they were neither replayed nor dismissed."""
    if not facts.open_dead_letters:
        return None
    dead = sum(count for _, count in facts.open_dead_letters)
    top_cause = facts.open_dead_letters[0][0]
    them = "it" if dead == 1 else "them"
    remedy = REASONS[top_cause].remedy if top_cause in REASONS else "Open the events to see why."
    return Diagnosis(
        "bad",
        f"{events(dead)} failed permanently. {'Reason' if dead == 1 else 'Most common reason'}: "
        f"{top_cause.replace('_', ' ')}.",
        f"{remedy} Replay {them} if Amazon would now accept the same data; otherwise dismiss {them}.",
        action="dead",
    )


def _rejected(facts: DiagnosisInput) -> Diagnosis | None:
    """Return a diagnosis if many events of the last hour were rejected. Earlier rejections do not count."""
    rejected = facts.recent_outcomes.rejected_in_hour
    total = facts.recent_outcomes.accepted_in_hour + rejected
    if not facts.recent_rejections or not rejected or rejected * 20 < total:
        return None
    _, top_cause, _ = facts.recent_rejections[0]
    reason = REASONS.get(top_cause)
    return Diagnosis(
        "warn",
        f"{share(rejected, total)} of the events of the last hour were rejected on receipt. Most common "
        f"reason: {top_cause.replace('_', ' ')}.",
        reason.remedy if reason else "See the reasons below.",
        action="rejected",
    )


def _expired(facts: DiagnosisInput) -> Diagnosis | None:
    expired = facts.recent_outcomes.expired_in_day
    if not expired:
        return None
    return Diagnosis(
        "bad",
        f"{events(expired)} expired before delivery in the last 24 hours: older than Amazon accepts.",
        "Send events sooner after they occur, and reconnect or resume before they expire.",
        action="expired",
    )


def _blocked(facts: DiagnosisInput) -> Diagnosis | None:
    until = facts.about.blocked_until
    if until is None or until <= facts.now or not facts.stats.waiting:
        return None
    left = age((until - facts.now).total_seconds())
    return Diagnosis("warn", f"Amazon limited the rate. Sending resumes in {left}.", "No action needed.")


def _other_currency(facts: DiagnosisInput) -> Diagnosis | None:
    own, actual = facts.destination.currency, facts.about.account_currency
    if actual is None or actual == own:
        return None
    return Diagnosis(
        "warn",
        f"The Amazon account's currency is {actual}, but this destination uses {own}.",
        f"Purchases whose event has no currency are sent in {own}. Change the destination to {actual}.",
        action="currency",
    )


def _nothing_yet(facts: DiagnosisInput) -> Diagnosis | None:
    if facts.stats.counts.accepted or facts.stats.counts.rejected:
        return None
    return Diagnosis(
        "quiet",
        "Ready. No events received yet.",
        "Attach the destination to a journey, or send a test event.",
        action="activate",
    )


def _healthy(facts: DiagnosisInput) -> Diagnosis:
    waiting = facts.stats.waiting
    if waiting:
        return Diagnosis(
            "good",
            f"Healthy. {events(waiting)} {'is' if waiting == 1 else 'are'} being delivered.",
            "No action needed.",
        )
    return Diagnosis("good", "Healthy. No events are waiting.", "No action needed.")


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
)
