"""Compare facts about a destination or the service with thresholds, and return the problems found.

Also the problems of a mapping that its last events show: suspicious amounts, a path that vanished or changed.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from app.domain.codes import SentenceCode
from app.domain.incidents import kinds
from app.domain.incidents.kinds import KINDS, Kind, Severity
from app.domain.incidents.thresholds import Alerting, Threshold
from app.domain.quantity import quantity

# `broken`: status 5xx or an unreadable response. `lost`: a timeout or a lost connection.
FAILED_OUTCOMES: Final = frozenset({"broken", "lost"})
FORBIDDEN_REASONS: Final = frozenset({"forbidden", "endpoint_not_found"})
MIN_DAYS_OF_VOLUME: Final = 7
EXPIRY_GRACE: Final = timedelta(seconds=5)  # an event that is old on receipt may be delivered immediately
SILENT_FOR: Final = timedelta(seconds=45)  # longer than the timeout of a request
REJECTIONS_END_AFTER: Final = timedelta(hours=1)
# A problem of the service must last at least this long.
WITHOUT_WORKER: Final = timedelta(seconds=60)
SLOW_COMMITS: Final = timedelta(seconds=60)
CHANNEL_FAILING: Final = timedelta(minutes=15)


# --- Problems of a mapping that its last events show ------------------------------------------------

# Other paths are left out of sentences, because a path in quotes can hold any text.
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9_.\[\]*-]{1,100}")


class SuspectRule(SentenceCode):
    """Why the amounts of purchases are suspicious. The sentence says what they do."""

    HUNDREDFOLD = (
        "hundredfold",
        "are about 100 times the usual amount or its hundredth: cents and units are mixed",
    )
    ALL_EQUAL = "all_equal", "have the same amount"
    ZERO = "zero", "have the amount 0"
    CURRENCY = "currency", "have another currency than the account"
    HUNDREDTHS = "hundredths", "are in cents, as other amounts of their events or the name of the field say"

    @property
    def field(self) -> str:
        """The destination field that the rule is about."""
        return "currency" if self is SuspectRule.CURRENCY else "value"


@dataclass(frozen=True, slots=True)
class SuspectAmounts:
    """How many of a mapping's last purchases meet a rule for suspicious amounts."""

    mapping: int
    rule: SuspectRule
    path: str | None
    events: int
    purchases: int

    @property
    def reason(self) -> str:
        return f"{self.rule} {self.mapping}"

    @property
    def sentence(self) -> str:
        field = self.rule.field
        where = f"{field} ({self.path})" if self.path and _PLAIN_PATH.fullmatch(self.path) else field
        which = f"{self.events:,} of the last {self.purchases:,} purchases"
        return f"{which} {self.rule.sentence}. Field: {where}."


@dataclass(frozen=True, slots=True)
class SchemaDrift:
    """A mapped path that a mapping's last events lack, and an unmapped one that may be its successor.

    `is_text` says whether they have it as a text, which it was not before, or no longer as one; None if they
    lack it.
    """

    mapping: int
    path: str
    successor: str | None
    events: int
    is_text: bool | None = None

    @property
    def reason(self) -> str:
        return f"{self.path} {self.mapping}"

    @property
    def sentence(self) -> str:
        path = self.path if _PLAIN_PATH.fullmatch(self.path) else "a mapped field"
        if self.is_text is not None:
            now, before = ("text", "number") if self.is_text else ("number", "text")
            return f"The last {self.events:,} events have {path} as a {now}, which was a {before} before."
        text = f"The last {self.events:,} events do not have {path}, which most events before them had."
        if self.successor is not None and _PLAIN_PATH.fullmatch(self.successor):
            text += f" {self.successor} looks like its new name."
        return text


# --- Facts ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DestinationFacts:
    """What is known about a destination at one time: counts and times, no personal data."""

    sign_in_reason: str | None = None  # why the sign-in to Amazon is lost
    is_paused: bool = False
    requests: int = 0  # with a result, within the window of the threshold for `failing`
    failed_requests: int = 0
    last_outcome: str | None = None  # of the last request with a result
    last_status: int | None = None
    success_at: datetime | None = None  # end of the last request that Amazon answered
    unanswered_since: datetime | None = None  # start of the oldest request in progress
    # The start of the oldest request without response since the last response.
    silent_since: datetime | None = None
    # Events wait since then, because the access token is not refreshed.
    no_token_since: datetime | None = None
    breaker_open_for: timedelta = timedelta(0)
    blocked: bool = False
    oldest_waiting_at: datetime | None = None  # of live events: replays and backfills may wait
    waiting_events: int = 0
    earliest_expiry_at: datetime | None = None  # of all waiting events
    # Events that expire within the threshold for `expiring`: the first expiry, the start of the wait, and the
    # number of these events.
    first_expiry_at: datetime | None = None
    expiring_since: datetime | None = None
    expiring_events: int = 0
    dead_open: int = 0
    oldest_dead_at: datetime | None = None
    # The last event, and the events of the window before it that the threshold for `rejections` names.
    received_at: datetime | None = None
    received: int = 0
    rejected: int = 0
    rejected_for: str | None = None  # the most common reason
    last_hour: int = 0  # events received in the last complete hour
    same_hours: Sequence[int] = ()  # events received in the same hour of each day before
    days_of_volume: int = 0
    suspect: SuspectAmounts | None = None
    drift: SchemaDrift | None = None
    open_kinds: Collection[Kind] = ()  # of its incidents


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What is known about the service at one time."""

    without_worker_for: timedelta = timedelta(0)
    waiting_events: int = 0
    oldest_waiting_at: datetime | None = None
    earliest_expiry_at: datetime | None = None
    slow_commits_for: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem found now. `summary` contains no name of a destination and no text from Amazon.

    `reason` selects the remedy. `oldest_event_at` is when the oldest affected event was accepted.
    """

    kind: Kind
    summary: str
    affected_events: int = 0
    oldest_event_at: datetime | None = None
    expires_at: datetime | None = None
    reason: str | None = None


def _access(kind: Kind, facts: DestinationFacts) -> Finding | None:
    """Return why access is lost, if the reason is one of this kind."""
    reason = facts.sign_in_reason
    if reason is None or (reason in FORBIDDEN_REASONS) is not (kind is Kind.AMAZON_FORBIDDEN):
        return None
    return _waiting(kind, kinds.SIGN_IN[reason].headline, facts, reason)


def _failing(facts: DestinationFacts, limit: Threshold, now: datetime) -> Finding | None:
    for reason, since in (("lost", facts.silent_since), ("no_token", facts.no_token_since)):
        if since is not None and facts.oldest_waiting_at is not None and now - since >= SILENT_FOR:
            return _waiting(Kind.FAILING, kinds.FAILURES[reason].headline, facts, reason)
    # The window still contains the failures of a fault that is over.
    is_over = facts.last_outcome not in FAILED_OUTCOMES
    if is_over and facts.breaker_open_for == timedelta(0):
        return None
    reason = kinds.failure_of(facts.last_outcome or "lost", facts.last_status)
    text = kinds.failure_sentence(reason, facts.last_status)
    if facts.requests >= limit.min_requests and facts.failed_requests >= limit.share * facts.requests:
        text += f" {facts.failed_requests:,} of {facts.requests:,} requests failed."
        return _waiting(Kind.FAILING, text, facts, reason)
    if facts.breaker_open_for >= timedelta(seconds=limit.breaker_seconds):
        return _waiting(Kind.FAILING, f"{text} The circuit breaker is open.", facts, reason)
    return None


def _throttled(facts: DestinationFacts, limit: Threshold, now: datetime) -> Finding | None:
    is_throttled = (facts.blocked or facts.last_outcome == "throttled") and not facts.is_paused
    if not is_throttled or facts.oldest_waiting_at is None:
        return None
    if now - facts.oldest_waiting_at <= timedelta(minutes=limit.minutes):
        return None
    text = f"Amazon responds 429; events wait for more than {_duration(limit.minutes)}."
    return _waiting(Kind.THROTTLED, text, facts)


def _backlog(facts: DestinationFacts, limit: Threshold, now: datetime) -> Finding | None:
    oldest = facts.oldest_waiting_at
    if facts.is_paused or oldest is None or now - oldest <= timedelta(minutes=limit.minutes):
        return None
    text = f"The oldest waiting event is older than {_duration(limit.minutes)}."
    return _waiting(Kind.BACKLOG, text, facts)


def _expiring(facts: DestinationFacts, limit: Threshold, now: datetime) -> Finding | None:
    expiry, since = facts.first_expiry_at, facts.expiring_since
    if expiry is None or since is None or now - since < EXPIRY_GRACE:
        return None
    if expiry - now > timedelta(hours=limit.hours):
        return None
    text = f"Waiting events reach Amazon's age limit within {_duration(limit.hours, 'hour')}."
    reason = kinds.PAUSED if facts.is_paused else None
    return Finding(Kind.EXPIRING, text, facts.expiring_events, facts.oldest_waiting_at, expiry, reason)


def _dead_letters(facts: DestinationFacts, limit: Threshold, _now: datetime) -> Finding | None:
    if facts.dead_open < limit.min_events:
        return None
    text = f"{quantity(facts.dead_open, 'event')} failed permanently."
    return Finding(Kind.DEAD_LETTERS, text, facts.dead_open, facts.oldest_dead_at)


def _rejections(facts: DestinationFacts, limit: Threshold, now: datetime) -> Finding | None:
    if facts.received_at is None or facts.rejected < limit.share * facts.received or not facts.rejected:
        return None
    text = f"{facts.rejected:,} of {quantity(facts.received, 'event')} were rejected on receipt."
    if facts.rejected_for is not None:
        text += f" Most common reason: {facts.rejected_for.replace('_', ' ')}."
    finding = Finding(Kind.REJECTIONS, text, facts.rejected, reason=facts.rejected_for)
    if Kind.REJECTIONS in facts.open_kinds:  # only good events, or a long time without events, end it
        return finding if now - facts.received_at < REJECTIONS_END_AFTER else None
    is_recent = now - facts.received_at <= timedelta(seconds=limit.window_seconds)
    return finding if is_recent and facts.received >= limit.min_events else None


def _volume_drop(facts: DestinationFacts, limit: Threshold, _now: datetime) -> Finding | None:
    if facts.days_of_volume < MIN_DAYS_OF_VOLUME or len(facts.same_hours) < MIN_DAYS_OF_VOLUME:
        return None
    usual = median(facts.same_hours)
    if usual < limit.min_events or facts.last_hour >= limit.share * usual:
        return None
    text = f"{quantity(facts.last_hour, 'event')} in the last hour; the median of this hour is {usual:,.10g}."
    return Finding(Kind.VOLUME_DROP, text)


def _mapping_problem(kind: Kind, found: SuspectAmounts | SchemaDrift | None) -> Finding | None:
    return Finding(kind, found.sentence, found.events, reason=found.reason) if found else None


Condition = Callable[[DestinationFacts, Threshold, datetime], Finding | None]

CONDITIONS: Final[Mapping[Kind, Condition]] = {
    Kind.SIGN_IN_LOST: lambda facts, *_: _access(Kind.SIGN_IN_LOST, facts),
    Kind.AMAZON_FORBIDDEN: lambda facts, *_: _access(Kind.AMAZON_FORBIDDEN, facts),
    Kind.FAILING: _failing,
    Kind.THROTTLED: _throttled,
    Kind.BACKLOG: _backlog,
    Kind.EXPIRING: _expiring,
    Kind.DEAD_LETTERS: _dead_letters,
    Kind.REJECTIONS: _rejections,
    Kind.VOLUME_DROP: _volume_drop,
    Kind.VALUE_SUSPECT: lambda facts, *_: _mapping_problem(Kind.VALUE_SUSPECT, facts.suspect),
    Kind.SCHEMA_DRIFT: lambda facts, *_: _mapping_problem(Kind.SCHEMA_DRIFT, facts.drift),
}


def destination_findings(facts: DestinationFacts, alerting: Alerting, now: datetime) -> list[Finding]:
    """Return the current problems of a destination, without the kinds that its operator disabled."""
    enabled = {kind: limit for kind, limit in alerting.thresholds.items() if limit.enabled}
    found = [CONDITIONS[kind](facts, limit, now) for kind, limit in enabled.items()]
    return [finding for finding in found if finding is not None]


@dataclass(frozen=True, slots=True)
class Explained:
    """The problems of a destination, of which one explains the others of its delivery.

    `cause` is the kind of the incident that has `consequences`; it may be open without a finding. `findings`
    contains no consequence.
    """

    findings: Mapping[Kind, Finding]
    cause: Kind | None = None
    consequences: tuple[Kind, ...] = ()
    severity: Severity = Severity.INFO  # the highest of the cause and its consequences

    def explains(self, kind: Kind) -> bool:
        """Return whether an open incident of this kind is resolved into the incident of the cause."""
        return self.cause is not None and kind in kinds.CHAIN and kind is not self.cause


def explain(findings: Collection[Finding], is_open: Collection[Kind]) -> Explained:
    """Return which of the problems found, or of the open incidents, explains the others."""
    found = {finding.kind: finding for finding in findings}
    # Access can be lost for one reason at a time, so an earlier reason is over.
    current = [kind for kind in kinds.ACCESS if kind in found]
    cause = next((kind for kind in (*current, *kinds.CHAIN) if kind in found or kind in is_open), None)
    if cause is None:
        return Explained(found)
    explained = {*kinds.CHAIN} - {cause, *kinds.ACCESS}
    consequences = tuple(sorted(explained & found.keys()))
    kept = {kind: finding for kind, finding in found.items() if kind is cause or kind not in kinds.CHAIN}
    severity = max((KINDS[kind].severity for kind in (cause, *consequences)), key=lambda each: each.rank)
    return Explained(kept, cause, consequences, severity)


def service_findings(facts: ServiceFacts) -> Iterator[Finding]:
    """Yield the current problems of the service."""
    if facts.without_worker_for >= WITHOUT_WORKER:
        yield _waiting(Kind.NO_WORKER, "Events wait and no worker delivers them.", facts)
    if facts.slow_commits_for >= SLOW_COMMITS:
        yield Finding(Kind.DATABASE_SLOW, "Commits to the database take more than a second.")


def in_general_words(
    finding: Finding, facts: Collection[DestinationFacts], *, is_open: bool
) -> Finding | None:
    """Return a problem of the service as an organisation reads it, from the facts of its destinations.

    Return None if the problem affects none of its events and its incident is not open yet.
    """
    active = [each for each in facts if each.sign_in_reason is None and not each.is_paused]
    waiting = [each for each in active if each.waiting_events]
    is_receiving = finding.kind is Kind.DATABASE_SLOW and any(each.received for each in facts)
    if not (waiting or is_receiving or is_open):
        return None
    text = kinds.OTHERS[kinds.OPERATOR].headline
    events = sum(each.waiting_events for each in waiting)
    oldest_at = _earliest(each.oldest_waiting_at for each in waiting)
    expires_at = _earliest(each.earliest_expiry_at for each in waiting)
    return Finding(finding.kind, text, events, oldest_at, expires_at, kinds.OPERATOR)


def channel_finding(failing: Mapping[str, timedelta]) -> Finding | None:
    """Return the problem of an organisation's notification channels, or None.

    `failing` maps the name of each failing channel to how long it has failed.
    """
    names = sorted(name for name, lasted in failing.items() if lasted >= CHANNEL_FAILING)
    if not names:
        return None
    return Finding(Kind.NOTIFICATIONS_FAILING, f"Channels do not accept messages: {', '.join(names)}.")


def _waiting(
    kind: Kind, text: str, facts: DestinationFacts | ServiceFacts, reason: str | None = None
) -> Finding:
    return Finding(
        kind, text, facts.waiting_events, facts.oldest_waiting_at, facts.earliest_expiry_at, reason
    )


def _earliest(times: Iterable[datetime | None]) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def _duration(number: float, unit: str = "minute") -> str:
    return f"{number:g} {unit if number == 1 else unit + 's'}"
