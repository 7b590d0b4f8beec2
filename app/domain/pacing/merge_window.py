"""How long a request of a lane waits for more events (ADR 0050).

A request costs the same CPU whether it carries one event or 500, so *small* requests are limited: those with
fewer than `FULL` events. A lane sends at most one in a merge window. All workers together send about
`SMALL_PER_S`: if their lanes need more, each small request waits for its turn, at most `LONGEST_TURN`
windows. A full request never waits.
"""

from dataclasses import dataclass
from typing import Final

FULL: Final = 500  # events of a full request
SMALL_PER_S: Final = 10.0  # 3 % of a core of worker and Postgres, at 3 ms a request
LONGEST_TURN: Final = 50  # windows: 10 s with the default


@dataclass(slots=True)
class Turns:
    """The turns of the small requests of one worker. `workers` share the turns of all workers.

    `window` is the merge window in seconds. The next turn begins at `next_at`, on a monotonic clock.
    """

    window: float = 0.0
    workers: int = 1
    next_at: float = float("-inf")

    def take(self, now: float) -> float:
        """Take the next turn, and return when it begins."""
        begins = min(max(now, self.next_at), now + LONGEST_TURN * self.window)
        self.next_at = begins + self.workers / SMALL_PER_S
        return begins

    def give_back(self) -> None:
        """Leave a turn to another lane, because the request became full before its turn began."""
        self.next_at -= self.workers / SMALL_PER_S
