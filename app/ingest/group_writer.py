"""A writer of group commit: a session, what it writes now, and whether it waits for more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.pacing.owner_queue import Owner
from app.ingest.flush_session import FlushSession
from app.ingest.pending_request import PendingRequest

# A request of more events is a large one. Of several organisations, its events are evaluated so many per
# event-loop iteration.
FEW_EVENTS: Final = 25
# While several organisations send, a writer that wrote many events of one so recently waits for more of them,
# so many times longer: fewer and larger commits of a flood leave more of Postgres to the others.
_MANY_EVENTS_SECONDS: Final = 0.02
_MANY_EVENTS_WAIT: Final = 3


@dataclass(slots=True)
class GroupWriter:
    """`writing` are the organisations whose requests it writes.

    None is in two writers, so their requests keep their order. Until `joining_until`, requests of the
    organisations `joining` wait for more of them.
    """

    session: FlushSession
    writing: frozenset[Owner] = frozenset()
    joining: frozenset[Owner] = frozenset()
    joining_until: float = float("-inf")
    wrote_many: bool = False

    def wait_for_more(self, waiting: frozenset[Owner], linger_s: float, now: float) -> float | None:
        """Return how long to wait for more requests before the next group, None if it is written now.

        `waiting` are the organisations with requests for this writer. A lone request does not wait, nor does
        one of an organisation that the last group did not have.
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
