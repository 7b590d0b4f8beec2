"""One plain sentence on where an event stands and what, if anything, to do. Pure; holds no personal data."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from app.domain.outcomes.reasons import REASONS
from app.domain.outcomes.status import Status


@dataclass(frozen=True, slots=True)
class EventState:
    """What the sentence is made of. Times are UTC; `reason` is a word of `REASONS` or None."""

    status: Status
    tries: int
    reason: str | None
    event_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    amazon_message: str | None
    max_age: timedelta
    erased_at: datetime | None = None

    @property
    def expires_at(self) -> datetime:
        """Return the moment at which Amazon's age limit ends the event's wait."""
        return self.event_at + self.max_age


def explain(standing: EventState) -> str:
    """Return what happened to an event and what to do about it."""
    match standing.status:
        case Status.QUEUED:
            if standing.reason == "throttled" and standing.due_at is not None:
                return (
                    "Accepted and stored. Amazon asked to slow down (429): nothing of this advertiser is "
                    f"sent before {_time(standing.due_at)}, then it is sent automatically. Nothing to do."
                )
            return "Accepted and stored; it waits for its turn and is sent by itself."
        case Status.RETRYING:
            tried = "once" if standing.tries == 1 else f"{standing.tries} times"
            remedy = _remedy(standing.reason)
            onward = "" if " again" in remedy else " It is tried again by itself."
            return f"Tried {tried} without success. {remedy}{onward}"
        case Status.HELD:
            return f"The destination is paused; the event waits until it is resumed. {_deadline(standing)}"
        case Status.PARKED:
            why, action = _PARKED.get(standing.reason or "", _PARKED["sign_in_revoked"])
            return f"{why}; the event waits until {action}. {_deadline(standing)}"
        case Status.DELIVERED:
            if standing.erased_at is not None:
                return (
                    f"Amazon accepted it{_at(standing.finished_at)}. The person's data was erased here on "
                    f"request{_at(standing.erased_at)}; ask Amazon to erase what it accepted."
                )
            return f"Amazon accepted it{_at(standing.finished_at)}. Nothing to do."
        case Status.DEAD:
            words = (standing.amazon_message or "").rstrip(". ")
            cause = UNCLEAR_ANSWERS.get(words, f"Amazon said: {words}." if words else "")
            parts = (f"Given up{_at(standing.finished_at)}.", cause, _remedy(standing.reason))
            return " ".join(part for part in parts if part)
        case Status.EXPIRED:
            days = standing.max_age.days
            return f"It became older than the {days} days that Amazon takes before it could be sent."
        case Status.ERASED:
            return f"The person's data was erased on request{_at(standing.erased_at)}; the event is not sent."
        case _:
            assert_never(standing.status)


def explain_duplicate(event_id: str | None, answered_at: datetime, of_other: str, *, is_here: bool) -> str:
    """Return what became of an event that was answered as a duplicate by its mapped Amazon eventId.

    `of_other` is the sentence on the event that stands under that id, which may be another destination's.
    """
    other = f"event {event_id}" if event_id is not None else "an event"
    place = "" if is_here else " of another destination of this advertiser"
    return (
        f"Answered as a duplicate{_at(answered_at)}: its mapped Amazon eventId is that of {other}{place}, "
        f"and Amazon counts an eventId once. Of that event: {of_other}"
    )


# Amazon's answer was not clear about one event (`app.domain.outcomes.outcome.Unknown`).
UNCLEAR_ANSWERS = {
    "missing_index": "Amazon's answer did not name this event.",
    "contradictory": "Amazon's answer named this event both as accepted and as refused.",
}

_RECONNECTED = "the destination is reconnected"
_PARKED = {
    "sign_in_revoked": ("The sign-in was revoked, or has expired, at Amazon", _RECONNECTED),
    "sign_in_unauthorized": ("Amazon refuses the sign-in even with a fresh token (401)", _RECONNECTED),
    "sign_in_forbidden": (
        "Amazon says that the signed-in user may not send for this advertiser (403)",
        "that user is given access and the destination is reconnected",
    ),
    "endpoint_not_found": (
        "Amazon answers 404: it does not know this address or advertiser account",
        "Amazon answers a request that is tried every 5 minutes. Check the region and the advertiser id",
    ),
    "sign_in_disconnected": ("The destination was disconnected here", _RECONNECTED),
}


def _remedy(reason: str | None) -> str:
    return REASONS[reason].remedy if reason is not None and reason in REASONS else ""


def _deadline(standing: EventState) -> str:
    return f"Unless that happens before {_time(standing.expires_at)} it expires."


def _at(moment: datetime | None) -> str:
    return f" at {_time(moment)}" if moment is not None else ""


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
