"""How long a request of a lane waits for more events (ADR 0050).

A request costs the same CPU whether it carries one event or 500, so *small* requests are limited: those with
fewer than `FULL` events. A lane sends none within its merge window after its last request, and the window
doubles with each request until the lane is idle. All workers together send about `SMALL_PER_S`, fewer if a
request takes long because Postgres or the worker is busy: each small request waits for its turn, at most
`LONGEST_TURN` windows. Below this rate a lane that was idle sends immediately. A full request never waits.
"""

from dataclasses import dataclass
from typing import Final

FULL: Final = 500  # events of a full request, which never waits
DOUBLINGS: Final = 3  # of the window of a busy lane: eight windows, 0.8 s with the default
SMALL_PER_S: Final = 30.0  # about an eighth of a core of worker and Postgres, at 4 ms a request
PRICE_SHARE: Final = 4.0  # a turn lasts so many times as long as a request takes without Amazon
LONGEST_BETWEEN_S: Final = 0.2  # between two turns
SMALL_BURST: Final = 10  # requests that are sent without a wait after a quiet time
LONGEST_TURN: Final = 100  # windows: 10 s with the default


@dataclass(slots=True)
class Turns:
    """The turns of the small requests of one worker. `workers` share the turns of all workers.

    `window` is the configured merge window in seconds. At `next_at` the next turn begins, without bursts.
    `price` is the mean time of the last requests without Amazon. Times are seconds on a monotonic clock.
    """

    window: float = 0.0
    workers: int = 1
    next_at: float = float("-inf")
    price: float = 0.0

    def take(self, now: float) -> float:
        """Take the next turn, and return when it begins."""
        every, longest = self._every, LONGEST_TURN * self.window
        begins = min(max(now, self.next_at - SMALL_BURST * every), now + longest)
        self.next_at = min(max(now, self.next_at) + every, now + longest + SMALL_BURST * every)
        return begins

    def give_back(self) -> None:
        """Leave a turn to another lane, because the request became full before its turn began."""
        self.next_at -= self._every

    def pay(self, seconds: float) -> None:
        """Note how long a request took without Amazon. A single long one changes little."""
        self.price += (min(seconds, 2 * self.price + 0.01) - self.price) / 10

    @property
    def _every(self) -> float:
        return self.workers * min(max(1 / SMALL_PER_S, PRICE_SHARE * self.price), LONGEST_BETWEEN_S)
