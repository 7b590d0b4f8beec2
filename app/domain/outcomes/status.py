"""The state machine of an accepted event. An event's status is derived, never stored.

It follows from three rows: its batch's state (disposition, tries), its exception row if it has one (status),
and its destination's state.

    accepted → QUEUED ⇄ RETRYING → DELIVERED | DEAD | EXPIRED
    QUEUED, RETRYING → HELD              while the destination is paused
    QUEUED, RETRYING → PARKED            while the destination has no valid sign-in
    DEAD, EXPIRED → QUEUED or RETRYING   by a replay: complete batches, or single events
    any but DELIVERED → ERASED           by an erasure request
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.destination import State


class Status(StrEnum):
    """The status that the API reports for an event (interface §2). `accepted` is the sum of all of them."""

    # Waits for its first attempt. An event gets here when it is accepted, and when its batch is replayed.
    QUEUED = "queued"

    # At least one attempt failed and another one follows automatically, until the age limit. An event gets
    # here when its complete request fails, when Amazon asks for it again, when its outcome is unknown, or
    # when it is replayed alone.
    RETRYING = "retrying"

    # Waits because an operator paused its destination. It is queued or retrying again after the resume.
    HELD = "held"

    # Waits because its destination has no valid sign-in, or because Amazon answers its requests with 404. It
    # is queued or retrying again after a user signs in, or after a probe request finds the endpoint.
    PARKED = "parked"

    # Final. Amazon listed the event under `success`.
    DELIVERED = "delivered"

    # Final until an operator replays it: a dead letter. An event gets here when Amazon rejects it, when its
    # attempts are used up, when it cannot be decrypted, or when an operator discards it.
    DEAD = "dead"

    # Final until an operator replays it. The event passed the age limit before Amazon accepted it.
    EXPIRED = "expired"

    # Final. An erasure request removed its content before Amazon accepted it.
    ERASED = "erased"


FINAL = frozenset({Status.DELIVERED, Status.DEAD, Status.EXPIRED, Status.ERASED})
WAITING = tuple(status for status in Status if status not in FINAL)

# The status of events without an exception row, by their batch's disposition.
_BY_DISPOSITION: Mapping[str, Status] = {
    "sent": Status.DELIVERED,
    "expired": Status.EXPIRED,
    "discarded": Status.DEAD,
}


def status_of(*, disposition: str | None, tries: int, exception: str | None, state: State) -> Status:
    """Return an event's status.

    `disposition` and `tries` are its batch's; `exception` is the status of its exception row, if it has one.
    A waiting event of a paused destination is held, of one without a valid sign-in parked.
    """
    if exception is not None and exception != "retrying":
        return Status(exception)
    if exception is None and disposition is not None:
        return _BY_DISPOSITION[disposition]
    return waiting_status(state, failing=exception is not None or tries > 0)


def waiting_status(state: State, *, failing: bool) -> Status:
    """Return the status of an event that is not final; `failing`: it has a failed attempt."""
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
    """Return the counts by status, zeros included; they add up to `accepted`.

    `accepted = delivered + queued + retrying + held + parked + dead + expired + erased`;
    duplicates and rejected events are counted separately.
    """
    final = {
        Status.DELIVERED: totals.delivered,
        Status.DEAD: totals.dead,
        Status.EXPIRED: totals.expired,
        Status.ERASED: totals.erased,
    }
    waiting = totals.accepted - sum(final.values())
    open_counts = dict.fromkeys(WAITING, 0)
    open_counts[waiting_status(state, failing=True)] += totals.retrying
    open_counts[waiting_status(state, failing=False)] += waiting - totals.retrying
    return {
        "accepted": totals.accepted,
        "duplicates": totals.duplicates,
        "rejected": totals.rejected,
        **{status.value: number for status, number in (open_counts | final).items()},
    }
