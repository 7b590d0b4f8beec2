"""A writer of group commit: a session, what it writes now, and whether it waits for more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.pacing.owner_queue import Owner
from app.ingest.flush_session import FlushSession
from app.ingest.pending_request import PendingRequest

# A request of more events is large. While several organisations send, its events are evaluated in slices of
# this size, one slice per event-loop iteration.
FEW_EVENTS: Final = 25
# While several organisations send, a writer that wrote more than FEW_EVENTS events waits for more requests of
# the same organisations for up to _MANY_EVENTS_SECONDS afterwards, and this many times longer than otherwise.
# A flood then has fewer and larger commits, which leaves more of Postgres to other organisations.
_MANY_EVENTS_SECONDS: Final = 0.02
_MANY_EVENTS_WAIT: Final = 3


@dataclass(slots=True)
class GroupWriter:
    """A session, and the organisations whose requests it writes now (`writing`).

    No organisation is in two writers at a time, so its requests keep their order. Requests of the
    organisations in `joining` wait for more requests of them until `joining_until` (event loop's clock).
    """

    session: FlushSession
    writing: frozenset[Owner] = frozenset()
    joining: frozenset[Owner] = frozenset()
    joining_until: float = float("-inf")
    wrote_many: bool = False

    def wait_for_more(self, waiting: frozenset[Owner], linger_s: float, now: float) -> float | None:
        """Return the seconds to wait for more requests before the next group, None if it is written now.

        Reserves the organisations that wait for this writer. `waiting` are those with requests that it may
        write. A request that came alone does not wait, nor does one of an organisation that was not in the
        last group.
        """
        joining = waiting & self.joining
        if not joining or now >= self.joining_until:
            return None
        self.writing = joining
        return linger_s * (_MANY_EVENTS_WAIT if self.wrote_many else 1)

    def take(self, requests: Sequence[PendingRequest], now: float, *, shared: bool) -> None:
        """Record the group that is written next; `shared`: several organisations send."""
        self.writing = self.joining = organisations_of(requests)
        self.wrote_many = shared and sum([len(request.events) for request in requests]) > FEW_EVENTS
        if len(requests) > 1:
            self.joining_until = float("inf")
        else:
            self.joining_until = now + _MANY_EVENTS_SECONDS if self.wrote_many else float("-inf")

    def end(self) -> None:
        """Record that the group is written."""
        self.writing = frozenset()


def organisations_of(requests: Sequence[PendingRequest]) -> frozenset[Owner]:
    """Return the organisations that sent these requests."""
    return frozenset([request.access.organisation for request in requests])
