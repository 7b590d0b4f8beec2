"""Where an event stands: derived from its batch, its exception if any, and its destination's state."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.destination import State


class Status(StrEnum):
    """What callers are told of an event (interface §2). Counts add up: accepted is the sum of all of them."""

    QUEUED = "queued"
    RETRYING = "retrying"
    HELD = "held"
    PARKED = "parked"
    DELIVERED = "delivered"
    DEAD = "dead"
    EXPIRED = "expired"
    ERASED = "erased"


FINAL = frozenset({Status.DELIVERED, Status.DEAD, Status.EXPIRED, Status.ERASED})

# What a whole batch's disposition means for the conversions that have no exception of their own.
_FATES: Mapping[str, Status] = {
    "sent": Status.DELIVERED,
    "expired": Status.EXPIRED,
    "discarded": Status.DEAD,
}


def status_of(*, disposition: str | None, tries: int, exception: str | None, state: State) -> Status:
    """Return an event's status.

    `disposition` and `tries` are its batch's; `exception` is the status of its own row where it left the
    road. What waits for a paused destination is held, for a broken sign-in parked, whatever it waited for
    before.
    """
    if exception is not None and exception != "retrying":
        return Status(exception)
    if exception is None and disposition is not None:
        return _FATES[disposition]
    return waiting_status(state, failing=exception is not None or tries > 0)


def waiting_status(state: State, *, failing: bool) -> Status:
    """Return the status of an event that is owed to Amazon; `failing` after a first attempt that failed."""
    if state is State.PAUSED:
        return Status.HELD
    if state in {State.NEEDS_RECONNECT, State.DRAFT}:
        return Status.PARKED
    return Status.RETRYING if failing else Status.QUEUED


@dataclass(frozen=True, slots=True)
class CountTotals:
    """The sums of all writers' counts of a destination."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    retrying: int = 0
    delivered: int = 0
    dead: int = 0
    expired: int = 0
    erased: int = 0


def tally(totals: CountTotals, state: State) -> dict[str, int]:
    """Return the counts by status: every status present, adding up to `accepted`.

    `accepted = delivered + queued + retrying + held + parked + dead + expired + erased`;
    duplicates and rejections stand beside them.
    """
    final = {
        Status.DELIVERED: totals.delivered,
        Status.DEAD: totals.dead,
        Status.EXPIRED: totals.expired,
        Status.ERASED: totals.erased,
    }
    waiting = totals.accepted - sum(final.values())
    open_ones = dict.fromkeys((Status.QUEUED, Status.RETRYING, Status.HELD, Status.PARKED), 0)
    open_ones[waiting_status(state, failing=True)] += totals.retrying
    open_ones[waiting_status(state, failing=False)] += waiting - totals.retrying
    return {
        "accepted": totals.accepted,
        "duplicates": totals.duplicates,
        "rejected": totals.rejected,
        **{status.value: number for status, number in (open_ones | final).items()},
    }
