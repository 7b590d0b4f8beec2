"""The history of an event: the requests to Amazon that contained it, Amazon's results, and an explanation.

The explanation says in a few sentences, without personal data, why the event has its status and what to do.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never

from app.domain.incidents.kinds import SIGN_IN
from app.domain.outcomes.reasons import REASONS
from app.domain.outcomes.status import Status
from app.domain.quantity import quantity

ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """A stored request to Amazon. It contained single events if `is_retry`, else complete batches."""

    id: int
    started_at: datetime
    settled_at: datetime | None
    outcome: str | None
    http_status: int | None
    request_id: str | None
    message: str | None
    duration_ms: int | None
    events: int
    is_retry: bool


@dataclass(frozen=True, slots=True)
class EventReplay:
    """A replay that requeued the event."""

    replay_id: str
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """Amazon's result for one event of an attempt. `outcome` is `accepted`, or a key of `REASONS`."""

    outcome: str
    code: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class EventState:
    """The facts of an event that its explanation needs. `reason` is a key of `REASONS`."""

    status: Status
    tries: int
    reason: str | None
    event_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    amazon_message: str | None
    max_age: timedelta
    delivered_at: datetime | None = None
    erased_at: datetime | None = None
    is_organisation_suspended: bool = False
    dismissed_at: datetime | None = None

    @property
    def expires_at(self) -> datetime:
        """The time at which the event passes Amazon's age limit."""
        return self.event_at + self.max_age


def carrying_attempts(state: EventState, attempts: Sequence[AttemptRecord]) -> list[AttemptRecord]:
    """Return the attempts that contained the event. `attempts` has attempts of its batch and its own retries.

    An event is left out of an attempt after it was delivered or erased, or when it has passed the age limit.
    """
    erased_at = state.erased_at if state.status is Status.ERASED else None
    last_sent_at = min(filter(None, (state.expires_at, erased_at, state.delivered_at)))
    return [attempt for attempt in attempts if attempt.is_retry or attempt.started_at <= last_sent_at]


def item_outcomes(
    stored: Sequence[str], attempts: Sequence[AttemptRecord], *, is_delivered: bool
) -> Mapping[int, ItemOutcome]:
    """Return Amazon's results for an event by attempt id.

    `stored` has the results of failed attempts, as JSON. The result `accepted` is not stored: a delivered
    event was accepted in the last attempt that Amazon answered.
    """
    outcomes = {}
    for text in stored:
        item: dict[str, Any] = json.loads(text)
        outcomes[int(item["attempt"])] = ItemOutcome(item["outcome"], item["code"], item["message"])
    answered = [attempt.id for attempt in attempts if attempt.outcome == "answered"]
    if is_delivered and answered and answered[-1] not in outcomes:
        outcomes[answered[-1]] = ItemOutcome(ACCEPTED, None, None)
    return outcomes


# --- Explanation ----------------------------------------------------------------------------------


def explain(state: EventState) -> str:
    match state.status:
        case Status.QUEUED:
            if state.reason == "throttled" and state.due_at is not None:
                return (
                    "Accepted and stored. Amazon is rate-limiting this advertiser (HTTP 429). "
                    f"The event is sent automatically after {_time(state.due_at)}. No action needed."
                )
            return "Accepted and stored. The event is in the queue and is sent automatically."
        case Status.RETRYING:
            remedy = _remedy(state.reason)
            retry = "" if "automatically" in remedy else "The event is retried automatically."
            return _sentences(f"{quantity(state.tries, 'failed attempt')}.", remedy, retry)
        case Status.HELD:
            is_suspended = state.is_organisation_suspended
            cause = "The organisation is suspended" if is_suspended else "The destination is paused"
            return f"{cause}. The event is on hold until it is resumed. {_deadline(state)}"
        case Status.PARKED:
            lost = SIGN_IN.get((state.reason or "").removeprefix("sign_in_"), SIGN_IN["revoked"])
            return f"{lost.headline} {lost.remedy} The event waits. {_deadline(state)}"
        case Status.DELIVERED:
            if state.erased_at is not None:
                return (
                    f"Amazon accepted it{_at_time(state.finished_at)}. The person's data was erased from "
                    f"this service on request{_at_time(state.erased_at)}. Ask Amazon to erase its copy."
                )
            return f"Amazon accepted it{_at_time(state.finished_at)}. No action needed."
        case Status.DEAD:
            message = (state.amazon_message or "").rstrip(". ")
            cause = UNCLEAR_ANSWERS.get(message, f"Amazon's message: {message}." if message else "")
            remedy = _remedy(state.reason)
            if state.dismissed_at is not None:
                remedy = f"Dismissed{_at_time(state.dismissed_at)}. No action needed."
            return _sentences(f"Failed permanently{_at_time(state.finished_at)}.", cause, remedy)
        case Status.EXPIRED:
            return f"It passed Amazon's age limit of {state.max_age.days} days before it could be sent."
        case Status.ERASED:
            erased = _at_time(state.erased_at)
            return f"The person's data was erased on request{erased}. The event is not sent."
        case _:
            assert_never(state.status)


def explain_duplicate(
    event_id: str | None, answered_at: datetime, original_explanation: str, *, is_here: bool
) -> str:
    """Explain an event that is a duplicate because another event had the same mapped Amazon eventId before.

    `event_id` is the id of the other event, and `original_explanation` explains the other event. `event_id`
    is None if the caller may not see it. `is_here` is False if the other event belongs to another
    destination.
    """
    original = f"event {event_id}" if event_id is not None else "an event"
    place = "" if is_here else " of another destination of this advertiser"
    return (
        f"Answered as a duplicate{_at_time(answered_at)}: its mapped Amazon eventId was already used by "
        f"{original}{place}, and Amazon counts an eventId once. That event: {original_explanation}"
    )


# The sentences for `ItemUnknown` in `outcome.py`: Amazon's response was not clear about an event.
UNCLEAR_ANSWERS = {
    "missing_index": "Amazon's response did not mention this event.",
    "contradictory": "Amazon's response listed this event as both accepted and rejected.",
}


def _sentences(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _remedy(reason: str | None) -> str:
    return REASONS[reason].remedy if reason is not None and reason in REASONS else ""


def _deadline(state: EventState) -> str:
    return f"It expires at {_time(state.expires_at)}."


def _at_time(moment: datetime | None) -> str:
    return f" at {_time(moment)}" if moment is not None else ""


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
