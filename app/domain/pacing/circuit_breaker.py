"""The circuit breaker of a lane: after too many failures it allows only single probes, with waits. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

WINDOW: Final = 20  # the error rate counts the last requests, up to this number
MIN_FAILURES: Final = 3  # the breaker opens only after so many failures in the window
OPEN_ABOVE: Final = 0.5  # error rate at which the breaker opens
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0
SINGLE_FAILURE_WAIT_S: Final = 0.25  # after a failure that does not open the breaker


class BreakerState(StrEnum):
    """The state of a breaker in the statistics of a lane."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The circuit breaker of a lane. When it is open, the next probe may be sent at `until`.

    `recent` has a flag for each of the last requests, the newest last: True for a failure. Times are
    monotonic seconds.
    """

    recent: tuple[bool, ...] = ()
    opened: int = 0  # consecutive openings without a success
    until: float = 0.0

    def state(self, now: float) -> BreakerState:
        """Return closed (the lane may send), open (it may not) or half open (it may send a single probe)."""
        if not self.opened:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.until else BreakerState.HALF_OPEN

    @property
    def is_failing(self) -> bool:
        """Whether the last request failed or the breaker is not closed."""
        return self.opened > 0 or (bool(self.recent) and self.recent[-1])

    @property
    def error_rate(self) -> float:
        """The share of failures among the requests in the window."""
        return sum(self.recent) / len(self.recent) if self.recent else 0.0

    def in_flight(self, limit: int) -> int:
        """Return how many requests may be in flight: one probe until the breaker is closed, else `limit`."""
        return 1 if self.opened else limit

    def succeeded(self) -> "CircuitBreaker":
        """Return the breaker after a success. If it was open, it closes and forgets all earlier failures."""
        if self.opened:
            return CircuitBreaker((False,))
        return replace(self, recent=(*self.recent[1 - WINDOW :], False))

    def failed(self, now: float, *, jitter: float) -> "CircuitBreaker":
        """Return the breaker after a failure. The wait doubles with each failed probe.

        `jitter` is in [0, 1).
        """
        recent = (*self.recent[1 - WINDOW :], True)
        if not self.opened and (sum(recent) < MIN_FAILURES or sum(recent) < OPEN_ABOVE * len(recent)):
            return replace(self, recent=recent, until=now + SINGLE_FAILURE_WAIT_S * (0.5 + jitter / 2))
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self.opened, 6)) * (0.5 + jitter / 2)
        return CircuitBreaker(recent, self.opened + 1, max(self.until, now + wait))
