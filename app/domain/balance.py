"""Check that ledger, batches, states, exceptions and counts agree. Pure.

An accepted event has one row in the ledger and one position in a batch; its batch has one state; an event
that left the batch has an exception row; and the counts are the sums of these. Counts are compared with the
rows, never with other counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from app.domain.ids import DestinationNumber


class MismatchKind(StrEnum):
    """The kinds of mismatch."""

    STATE_MISSING = "state_missing"  # a batch without a state: it is not sent
    BATCH_MISSING = "batch_missing"  # a state without its batch: it cannot be sent
    EXCEPTION_WITHOUT_BATCH = "exception_without_batch"
    LEDGER_MISSING = "ledger_missing"  # an event that would be accepted again
    LEDGER_ELSEWHERE = "ledger_elsewhere"  # an event whose ledger row has another position
    TWIN = "twin"  # two batches under one id
    BATCH_COUNT = "batch_count"  # a state that counts another number of events than its batch holds
    UNREADABLE = "unreadable"  # a batch that cannot be read
    ACCEPTED = "accepted_count"
    WAITING = "waiting_count"
    RETRYING = "retrying_count"
    DEAD = "dead_count"
    EXPIRED = "expired_count"
    ERASED = "erased_count"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A mismatch and the number of its events. `day` is None when it does not concern one day."""

    kind: MismatchKind
    destination: DestinationNumber
    day: date | None
    events: int


@dataclass(frozen=True, slots=True)
class BatchBalance:
    """The stored rows of one batch id on one day. `places` is None if the batch is missing or damaged."""

    destination: DestinationNumber
    has_batch: bool
    states: int  # rows under this id on this day
    ids: int  # rows under this id on any day
    places: int | None
    events: int  # that its state counts
    disposition: str | None
    exceptions: int

    @property
    def accepted(self) -> int:
        """The number of events accepted into it."""
        return self.places if self.places is not None else self.events + self.exceptions


def check_batch(batch: BatchBalance) -> tuple[MismatchKind, int] | None:
    """Return the mismatch of one batch and the number of its events, or None."""
    if not batch.has_batch and not batch.states:
        return MismatchKind.EXCEPTION_WITHOUT_BATCH, batch.exceptions
    if not batch.states:
        return MismatchKind.STATE_MISSING, batch.accepted
    if not batch.has_batch:
        return MismatchKind.BATCH_MISSING, batch.accepted
    if batch.ids > 1:
        return MismatchKind.TWIN, batch.accepted
    if batch.places is None:
        return MismatchKind.UNREADABLE, batch.events
    # After a batch was sent, its state still counts the events that left it.
    most = batch.places if batch.disposition == "sent" else batch.places - batch.exceptions
    least = batch.places - batch.exceptions
    if not least <= batch.events <= most:
        return MismatchKind.BATCH_COUNT, max(least - batch.events, batch.events - most)
    return None


@dataclass(frozen=True, slots=True)
class BalanceTotals:
    """The counts and the stored sums of one destination, read in one snapshot.

    With `is_complete`, no day with its events has been dropped.
    """

    counted: Mapping[MismatchKind, int]
    stored: Mapping[MismatchKind, int]
    is_complete: bool


# All waiting events are stored, regardless of age; final events of dropped days are missing.
_EXACT = (MismatchKind.WAITING, MismatchKind.RETRYING)
_FINAL = (MismatchKind.DEAD, MismatchKind.EXPIRED, MismatchKind.ERASED)


def check_totals(totals: BalanceTotals) -> Iterator[tuple[MismatchKind, int]]:
    """Yield the wrong sums of a destination, with the difference in events."""
    for kind in (*_EXACT, *_FINAL):
        difference = totals.counted[kind] - totals.stored[kind]
        if difference < 0 or (difference > 0 and (kind in _EXACT or totals.is_complete)):
            yield kind, abs(difference)


def check_accepted(stored: int, *, before: int, after: int) -> int:
    """Return the error of a day's accepted count, in events.

    The count was read before and after the batches, because events may be accepted meanwhile.
    """
    return max(before - stored, stored - after, 0)


def check_keys(
    expected: Mapping[bytes, tuple[int, int]], found: Mapping[bytes, tuple[int, int]]
) -> Sequence[tuple[MismatchKind, int]]:
    """Return (kind, batch) for each ledger key that is missing or has another (batch, position)."""
    wrong = []
    for key, place in expected.items():
        if key not in found:
            wrong.append((MismatchKind.LEDGER_MISSING, place[0]))
        elif found[key] != place:
            wrong.append((MismatchKind.LEDGER_ELSEWHERE, place[0]))
    return wrong
