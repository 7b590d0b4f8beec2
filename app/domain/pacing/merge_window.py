"""How long a request of a lane waits for more events (ADR 0050).

A request costs the same CPU whether it carries one event or 500, so *small* requests are limited: those with
fewer than `FULL` events. A lane sends none within its merge window after its last request. All workers
together send about `SMALL_PER_S`: each small request waits for its turn, at most `LONGEST_TURN` windows.
Below this rate a lane that was idle sends immediately. A full request never waits.
"""

from dataclasses import dataclass
from typing import Final

FULL: Final = 500  # events of a full request, which never waits
SMALL_PER_S: Final = 30.0  # about an eighth of a core of worker and Postgres, at 4 ms a request
SMALL_BURST: Final = 10  # requests that are sent without a wait after a quiet time
LONGEST_TURN: Final = 30  # windows: 3 s with the default


@dataclass(slots=True)
class Turns:
    """The turns of the small requests of one worker. `workers` share the turns of all workers.

    `window` is the configured merge window in seconds. At `next_at` the next turn begins, without bursts.
    Times are seconds on a monotonic clock.
    """

    window: float = 0.0
    workers: int = 1
    next_at: float = float("-inf")

    def take(self, now: float) -> float:
        """Take the next turn, and return when it begins."""
        every, longest = self.workers / SMALL_PER_S, LONGEST_TURN * self.window
        begins = min(max(now, self.next_at - SMALL_BURST * every), now + longest)
        self.next_at = min(max(now, self.next_at) + every, now + longest + SMALL_BURST * every)
        return begins

    def give_back(self) -> None:
        """Leave a turn to another lane, because the request became full before its turn began."""
        self.next_at -= self.workers / SMALL_PER_S
