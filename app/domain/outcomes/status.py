"""The state machine of an accepted event.

The status of an event is not stored. It is derived from the state of its batch, from its exception row, if
any, and from the state of its destination.

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
    """The status of an accepted event, as the API reports it (interface §2)."""

    # The event waits for its first attempt. It gets this status when it is accepted, and when its batch is
    # replayed.
    QUEUED = "queued"

    # At least one attempt failed, and the next attempt follows automatically, until the age limit. An event
    # gets this status when its complete request fails, when Amazon asks for it again, when its outcome is
    # unknown, or when it is replayed alone.
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

# The status of a finished batch's events that have no exception row, by the batch's disposition.
_BY_DISPOSITION: Mapping[str, Status] = {
    "sent": Status.DELIVERED,
    "expired": Status.EXPIRED,
    "discarded": Status.DEAD,
}


def status_of(*, disposition: str | None, tries: int, exception: str | None, state: State) -> Status:
    """Return the status of an event.

    `disposition` and `tries` are from the state of its batch. `exception` is the status in the event's
    exception row, or None without a row. `state` is the state of its destination.
    """
    if exception is not None and exception != "retrying":
        return Status(exception)
    if exception is None and disposition is not None:
        return _BY_DISPOSITION[disposition]
    return waiting_status(state, failing=exception is not None or tries > 0)


def waiting_status(state: State, *, failing: bool) -> Status:
    """Return the status of an event that is not final. `failing` means that an attempt has failed."""
    if state is State.PAUSED:
        return Status.HELD
    if state in {State.NEEDS_RECONNECT, State.DRAFT}:
        return Status.PARKED
    return Status.RETRYING if failing else Status.QUEUED


@dataclass(frozen=True, slots=True)
class CountTotals:
    """The counts of a destination, summed over all processes that count."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    retrying: int = 0
    delivered: int = 0
    dead: int = 0
    expired: int = 0
    erased: int = 0


@dataclass(frozen=True, slots=True)
class AcceptedEventCounts:
    """Counts of accepted events. `accepted` is the sum of the statuses."""

    accepted: int
    queued: int
    retrying: int
    held: int
    parked: int
    delivered: int
    dead: int
    expired: int
    erased: int

    @property
    def waiting(self) -> int:
        """The number of accepted events that are not final."""
        return self.queued + self.retrying + self.held + self.parked


@dataclass(frozen=True, slots=True)
class EventCounts(AcceptedEventCounts):
    """Counts of events. `accepted` is the sum of the statuses."""

    duplicates: int
    rejected: int


def tally(totals: CountTotals, state: State) -> EventCounts:
    """Return the number of events with each status. Together they are `accepted`.

    Duplicates and rejected events are counted separately. If damaged rows made the counts of a destination
    wrong, a number that would be negative is 0, and `balance` lists the difference.
    """
    counts: dict[str, int] = {status: getattr(totals, status) if status in FINAL else 0 for status in Status}
    waiting = totals.accepted - sum(counts.values())
    counts[waiting_status(state, failing=True)] += max(totals.retrying, 0)
    counts[waiting_status(state, failing=False)] += max(waiting - totals.retrying, 0)
    return EventCounts(totals.accepted, **counts, duplicates=totals.duplicates, rejected=totals.rejected)
