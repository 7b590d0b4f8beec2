"""One plain sentence on where an event stands and what, if anything, to do. Pure; holds no personal data."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from app.domain.codes import REASONS
from app.domain.status import Status


@dataclass(frozen=True, slots=True)
class Standing:
    """What the sentence is made of. Times are UTC; `reason` is a word of `REASONS` or None."""

    status: Status
    tries: int
    reason: str | None
    event_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    amazon_message: str | None
    max_age: timedelta

    @property
    def expires_at(self) -> datetime:
        """Return the moment at which Amazon's age limit ends the event's wait."""
        return self.event_at + self.max_age


def explain(standing: Standing) -> str:
    """Return what happened to an event and what to do about it."""
    match standing.status:
        case Status.QUEUED:
            return "Accepted and stored; it waits for its turn and is sent by itself."
        case Status.RETRYING:
            tried = "once" if standing.tries == 1 else f"{standing.tries} times"
            remedy = _remedy(standing.reason)
            onward = "" if " again" in remedy else " It is tried again by itself."
            return f"Tried {tried} without success. {remedy}{onward}"
        case Status.HELD:
            return f"The destination is paused; the event waits until it is resumed. {_deadline(standing)}"
        case Status.PARKED:
            why, act = _PARKED.get(standing.reason or "", _PARKED["sign_in_revoked"])
            return f"{why}; the event waits until {act}. {_deadline(standing)}"
        case Status.DELIVERED:
            return f"Amazon accepted it{_at(standing.finished_at)}. Nothing to do."
        case Status.DEAD:
            words = (standing.amazon_message or "").rstrip(". ")
            said = f" Amazon said: {words}." if words else ""
            return f"Given up{_at(standing.finished_at)}.{said} {_remedy(standing.reason)}"
        case Status.EXPIRED:
            days = standing.max_age.days
            return f"It became older than the {days} days that Amazon takes before it could be sent."
        case Status.SUPPRESSED:
            return f"Stopped after acceptance and never sent. {_remedy(standing.reason)}"
        case Status.ERASED:
            return "The person's data was erased on request; the event is not sent."
        case _:
            assert_never(standing.status)


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


def _deadline(standing: Standing) -> str:
    return f"Unless that happens before {_time(standing.expires_at)} it expires."


def _at(moment: datetime | None) -> str:
    return f" at {_time(moment)}" if moment is not None else ""


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
