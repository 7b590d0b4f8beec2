"""How long a partly filled request of a lane waits for more events (ADR 0021).

The CPU of a request hardly depends on its number of events. An idle lane sends immediately. A lane that sent
several requests without an idle time waits until its next request has about `ENOUGH` events.

With many lanes, even one small request of each costs more than all else. So all workers together send about
`SMALL_PER_S` requests a second that are not full: each waits for its turn, at most `LONGEST_TURN` windows.
"""

from dataclasses import dataclass, replace
from typing import Final

FULL: Final = 500  # events of a full request, which never waits
ENOUGH: Final = 200  # with this many events, a longer wait saves little CPU time per event
BUSY_AFTER: Final = 5  # a lane is busy after this many requests without an idle time between them
LONGEST_S: Final = 0.4
SMALL_PER_S: Final = 30.0  # about an eighth of a core of worker and Postgres, at 4 ms a request
SMALL_BURST: Final = 10  # requests that are sent without a wait after a quiet time
LONGEST_TURN: Final = 30  # windows: 3 s with the default


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns of the small requests of one worker. At `next_at` the next turn begins, without bursts."""

    next_at: float = float("-inf")

    def take(self, now: float, *, workers: int, window: float) -> tuple["Turns", float]:
        """Return the turns without the next one, and when that one begins.

        `workers` share the turns, and `window` is the configured merge window in seconds.
        """
        every, longest = workers / SMALL_PER_S, LONGEST_TURN * window
        begins = min(max(now, self.next_at - SMALL_BURST * every), now + longest)
        latest = now + longest + SMALL_BURST * every
        return Turns(min(max(now, self.next_at) + every, latest)), begins


@dataclass(frozen=True, slots=True)
class MergeWindow:
    """The merge window of one lane. Times are seconds on a monotonic clock.

    `shortest` is the configured window, and `sent_at` the time of the last request. `in_row` counts the
    requests since the lane was idle. `rate` is the events per second between the last two requests. `turn` is
    the time before which no small request is sent.
    """

    shortest: float = 0.0
    sent_at: float = float("-inf")
    in_row: int = 0
    rate: float = 0.0
    turn: float = float("-inf")

    @property
    def seconds(self) -> float:
        """Return the time from the lane's last request to a next request that is only partly filled."""
        if self.in_row < BUSY_AFTER:
            return self.shortest
        enough = ENOUGH / self.rate if self.rate else LONGEST_S
        return max(self.shortest, min(enough, LONGEST_S, 4 * self.shortest))

    def ready_at(self, now: float, announced: int) -> float:
        """Return the time at which to send a request for which `announced` events wait."""
        if announced >= FULL:
            return now
        if announced >= ENOUGH:
            return max(now, self.sent_at + self.shortest)
        return max(now, self.sent_at + self.seconds, self.turn)

    def first_event(self, now: float) -> "MergeWindow":
        """Return the window after the next request's first event. For an idle lane, `in_row` becomes 0."""
        return self if now < self.sent_at + self.shortest else replace(self, in_row=0, rate=0.0)

    def sent(self, now: float, events: int) -> "MergeWindow":
        """Return the window after a request with so many events."""
        passed = now - self.sent_at
        rate = events / passed if passed > 0 else self.rate
        return replace(self, sent_at=now, in_row=self.in_row + 1, rate=rate)
