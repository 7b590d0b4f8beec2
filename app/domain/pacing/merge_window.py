"""How long a partly filled request of a lane waits for more events (ADR 0021).

The CPU of a request hardly depends on its number of events. An idle lane sends immediately. A lane that sent
several requests without an idle time waits until its next request has about `ENOUGH` events.
"""

from dataclasses import dataclass
from typing import Final

FULL: Final = 500  # events of a full request, which never waits
ENOUGH: Final = 200  # with this many events, a longer wait saves little CPU time per event
BUSY_AFTER: Final = 5  # a lane is busy after this many requests without an idle time between them
LONGEST_S: Final = 0.4


@dataclass(frozen=True, slots=True)
class MergeWindow:
    """The merge window of one lane. Times are seconds on a monotonic clock.

    `shortest` is the configured window, and `sent_at` the time of the last request. `in_row` counts the
    requests since the lane was idle. `rate` is the events per second between the last two requests.
    """

    shortest: float = 0.0
    sent_at: float = float("-inf")
    in_row: int = 0
    rate: float = 0.0

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
        return max(now, self.sent_at + (self.shortest if announced >= ENOUGH else self.seconds))

    def first_event(self, now: float) -> "MergeWindow":
        """Return the window after the first event for the next request. An idle lane counts from zero."""
        if now < self.sent_at + self.shortest:
            return self
        return MergeWindow(self.shortest, self.sent_at)

    def sent(self, now: float, events: int) -> "MergeWindow":
        passed = now - self.sent_at
        return MergeWindow(self.shortest, now, self.in_row + 1, events / passed if passed > 0 else self.rate)
