"""How long a writer of group commit waits for more requests before a transaction (ADR 0045). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.pacing.owner_queue import Owner

FEW_EVENTS: Final = 25  # a request or a group of more events is large
# While several organisations send, the group after a large group waits this many times longer. A flood then
# has fewer and larger commits, which leaves more of Postgres to other organisations.
_LARGE_GROUP_WAIT: Final = 3
# If the large group was a single request, the next group waits only within this time after it.
_LARGE_GROUP_SECONDS: Final = 0.02


@dataclass(slots=True)
class CommitWindow:
    """The organisations of a writer's groups, and how long its next group waits. Times are monotonic seconds.

    `writing` holds the organisations whose requests the writer writes now or next. `joining` holds the
    organisations of the last group: their next requests wait for more requests, until `joining_until`.
    """

    writing: frozenset[Owner] = frozenset()
    joining: frozenset[Owner] = frozenset()
    joining_until: float = float("-inf")
    wrote_many: bool = False

    def wait_s(self, waiting: frozenset[Owner], linger_s: float, now: float) -> float:
        """Return the seconds to wait before the next group; 0.0 to write it now.

        `waiting` holds the organisations whose requests wait and may be written. The writer waits if
        one of these organisations was in its last group. After a single request of few events it never waits.
        """
        joining = waiting & self.joining
        if not joining or now >= self.joining_until:
            return 0.0
        self.writing = joining
        return linger_s * (_LARGE_GROUP_WAIT if self.wrote_many else 1)

    def begin(self, senders: Sequence[Owner], events: int, now: float, *, shared: bool) -> None:
        """Record the group that is written next, by the organisation of each request.

        `shared` says that several organisations send.
        """
        self.writing = self.joining = frozenset(senders)
        self.wrote_many = shared and events > FEW_EVENTS
        if len(senders) > 1:
            self.joining_until = float("inf")
        else:
            self.joining_until = now + _LARGE_GROUP_SECONDS if self.wrote_many else float("-inf")

    def end(self) -> None:
        """Record that the current group was written to the database."""
        self.writing = frozenset()
