"""Check that the tables of the pipeline agree: ledger, batches, states, exceptions and counts.

An accepted event has one row in the ledger and one position in a batch. Each batch has one state. An event
whose status differs from its batch has an exception row. The counts are compared with sums of these rows,
never with other counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.ids import DestinationNumber


class MismatchKind(StrEnum):
    """The kind of a mismatch. The kinds that end in `_count` are wrong counts."""

    STATE_MISSING = "state_missing"  # a batch without a state: it is not sent
    BATCH_MISSING = "batch_missing"  # a state without its batch: it cannot be sent
    EXCEPTION_WITHOUT_BATCH = "exception_without_batch"
    LEDGER_MISSING = "ledger_missing"  # an event without a ledger row: it would be accepted again
    LEDGER_ELSEWHERE = "ledger_elsewhere"  # an event whose ledger row names another position
    TWIN = "twin"  # two batches with the same id
    BATCH_COUNT = "batch_count"  # the state's number of events differs from the batch's
    UNREADABLE = "unreadable"  # a batch that cannot be read
    ACCEPTED = "accepted_count"
    WAITING = "waiting_count"
    RETRYING = "retrying_count"
    DEAD = "dead_count"
    EXPIRED = "expired_count"
    ERASED = "erased_count"


@dataclass(frozen=True, slots=True)
class BatchBalance:
    """The stored rows with one batch id and one day.

    `places` is the number of events in the batch. It is None if the batch is missing or damaged. `events` is
    the number of events according to the state of the batch.
    """

    destination: DestinationNumber
    has_batch: bool
    states: int  # rows under this id on this day
    ids: int  # rows under this id on any day
    places: int | None
    events: int
    disposition: str | None
    exceptions: int

    @property
    def accepted(self) -> int:
        """The number of events that were accepted into the batch."""
        return self.places if self.places is not None else self.events + self.exceptions


def check_batch(batch: BatchBalance) -> tuple[MismatchKind, int] | None:
    """Return the mismatch of a batch and the number of its events, or None if there is no mismatch."""
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
    # The state of a sent batch may count the exceptions too.
    most = batch.places if batch.disposition == "sent" else batch.places - batch.exceptions
    least = batch.places - batch.exceptions
    if not least <= batch.events <= most:
        return MismatchKind.BATCH_COUNT, max(least - batch.events, batch.events - most)
    return None


@dataclass(frozen=True, slots=True)
class BalanceTotals:
    """The counts of one destination and the sums of its stored rows, read in one snapshot.

    `is_complete` is False if old days with events of the destination have been deleted.
    """

    counted: Mapping[MismatchKind, int]
    stored: Mapping[MismatchKind, int]
    is_complete: bool


# Waiting events are never deleted, so their counts must be exact. Final events are deleted with their day.
_EXACT = (MismatchKind.WAITING, MismatchKind.RETRYING)
_FINAL = (MismatchKind.DEAD, MismatchKind.EXPIRED, MismatchKind.ERASED)


def check_totals(totals: BalanceTotals) -> Iterator[tuple[MismatchKind, int]]:
    """Yield (kind, difference in events) for each wrong count of a destination."""
    for kind in (*_EXACT, *_FINAL):
        difference = totals.counted[kind] - totals.stored[kind]
        if difference < 0 or (difference > 0 and (kind in _EXACT or totals.is_complete)):
            yield kind, abs(difference)


def check_accepted(stored: int, *, before: int, after: int) -> int:
    """Return by how many events a day's count of accepted events is wrong. Return 0 if the count is right.

    The count is read before and after the stored events are counted, because events may be accepted
    meanwhile.
    """
    return max(before - stored, stored - after, 0)


def check_keys(
    expected: Mapping[bytes, tuple[int, int]], found: Mapping[bytes, tuple[int, int]]
) -> Iterator[tuple[MismatchKind, int]]:
    """Yield (kind, batch id) for each ledger key that is missing or has another (batch id, position)."""
    for key, place in expected.items():
        if key not in found:
            yield MismatchKind.LEDGER_MISSING, place[0]
        elif found[key] != place:
            yield MismatchKind.LEDGER_ELSEWHERE, place[0]
