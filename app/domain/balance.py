"""Whether ledger, batches, states, exceptions and counts say the same. Pure: the facts are given.

An accepted event has one row in the ledger and one place in a batch; its batch has one state; what left the
batch has an exception row; and the counts are the sums of all that. Counts are derived, and so are never
compared with counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from app.domain.ids import DestinationNumber


class MismatchKind(StrEnum):
    """What does not add up."""

    STATE_MISSING = "state_missing"  # a batch without a state: nothing sends it
    BATCH_MISSING = "batch_missing"  # a state without its batch: nothing can be sent
    EXCEPTION_WITHOUT_BATCH = "exception_without_batch"
    LEDGER_MISSING = "ledger_missing"  # an event that would be accepted again
    LEDGER_ELSEWHERE = "ledger_elsewhere"  # an event whose id the ledger gives to another place
    TWIN = "twin"  # two batches under one id
    BATCH_COUNT = "batch_count"  # a state that answers for another number of events than its batch holds
    UNREADABLE = "unreadable"  # a batch that cannot be read, so nothing is known of it
    ACCEPTED = "accepted_count"
    WAITING = "waiting_count"
    RETRYING = "retrying_count"
    DEAD = "dead_count"
    EXPIRED = "expired_count"
    ERASED = "erased_count"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something that does not add up, and for how many events. `day` is None where it is not of one day."""

    kind: MismatchKind
    destination: DestinationNumber
    day: date | None
    events: int


@dataclass(frozen=True, slots=True)
class BatchBalance:
    """What is stored of one batch id on one day. `places` is None without a batch, or with a torn one."""

    destination: DestinationNumber
    has_batch: bool
    states: int  # rows under this id on this day
    ids: int  # rows under this id on any day
    places: int | None
    events: int  # that its state answers for
    disposition: str | None
    exceptions: int

    @property
    def accepted(self) -> int:
        """Return how many events were accepted into it."""
        return self.places if self.places is not None else self.events + self.exceptions


def check_batch(batch: BatchBalance) -> tuple[MismatchKind, int] | None:
    """Return what does not add up in one batch, and for how many events."""
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
    # Once a batch was sent, what leaves it goes on being counted by its state.
    most = batch.places if batch.disposition == "sent" else batch.places - batch.exceptions
    least = batch.places - batch.exceptions
    if not least <= batch.events <= most:
        return MismatchKind.BATCH_COUNT, max(least - batch.events, batch.events - most)
    return None


@dataclass(frozen=True, slots=True)
class BalanceTotals:
    """The counts of one destination beside what is stored of it, read in one snapshot.

    `is_complete` tells that nothing it ever accepted has been dropped with its day.
    """

    counted: Mapping[MismatchKind, int]
    stored: Mapping[MismatchKind, int]
    is_complete: bool


# Of what waits everything is there, however old; of what is final the days that were dropped are missing.
_EXACT = (MismatchKind.WAITING, MismatchKind.RETRYING)
_FINAL = (MismatchKind.DEAD, MismatchKind.EXPIRED, MismatchKind.ERASED)


def check_totals(totals: BalanceTotals) -> Iterator[tuple[MismatchKind, int]]:
    """Yield which sums of a destination are wrong, and by how many events."""
    for kind in (*_EXACT, *_FINAL):
        off = totals.counted[kind] - totals.stored[kind]
        if off < 0 or (off > 0 and (kind in _EXACT or totals.is_complete)):
            yield kind, abs(off)


def check_accepted(stored: int, *, before: int, after: int) -> int:
    """Return by how many events the count of what a day accepted is wrong.

    The count was read before and after its batches were: what was accepted meanwhile may be among them.
    """
    return max(before - stored, stored - after, 0)


def check_keys(
    expected: Mapping[bytes, tuple[int, int]], found: Mapping[bytes, tuple[int, int]]
) -> Sequence[tuple[MismatchKind, int]]:
    """Return for each key of the ledger that is missing or names another (batch, place): kind and batch."""
    wrong = []
    for key, place in expected.items():
        if key not in found:
            wrong.append((MismatchKind.LEDGER_MISSING, place[0]))
        elif found[key] != place:
            wrong.append((MismatchKind.LEDGER_ELSEWHERE, place[0]))
    return wrong
