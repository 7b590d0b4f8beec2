"""The breaker of a lane: after too many failures nothing is sent but a probe now and then. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

WINDOW: Final = 20  # requests whose disposition is remembered
FEWEST: Final = 3  # before so many have failed in it nothing opens
SHARE: Final = 0.5  # of the window failed: open
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0
STUMBLE_S: Final = 0.25  # after a single failure


class BreakerState(StrEnum):
    """What a lane's stats tell of it."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """How a lane's last requests went; `until` is when an open breaker lets a probe through.

    `recent` holds one flag a request, newest last, True for a failure. Times are monotonic seconds.
    """

    recent: tuple[bool, ...] = ()
    opened: int = 0  # times in a row
    until: float = 0.0

    def state(self, now: float) -> BreakerState:
        """Return whether requests may leave, none may, or one to see whether Amazon is well again."""
        if not self.opened:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.until else BreakerState.HALF_OPEN

    @property
    def is_failing(self) -> bool:
        """Tell whether the last request failed, or the breaker is not closed."""
        return self.opened > 0 or (bool(self.recent) and self.recent[-1])

    @property
    def error_rate(self) -> float:
        """Return the share of failures among the requests remembered."""
        return sum(self.recent) / len(self.recent) if self.recent else 0.0

    def in_flight(self, limit: int) -> int:
        """Return how many requests may be under way at once: an unproven lane sends one probe."""
        return 1 if self.opened else limit

    def succeeded(self) -> "CircuitBreaker":
        """Return the breaker after an answer: it closes, and an old outage is forgotten."""
        if self.opened:
            return CircuitBreaker((False,))
        return replace(self, recent=(*self.recent[1 - WINDOW :], False))

    def failed(self, now: float, *, jitter: float) -> "CircuitBreaker":
        """Return the breaker after a failure. The wait doubles with each failed probe.

        `jitter` is in [0, 1).
        """
        recent = (*self.recent[1 - WINDOW :], True)
        if not self.opened and (sum(recent) < FEWEST or sum(recent) < SHARE * len(recent)):
            return replace(self, recent=recent, until=now + STUMBLE_S * (0.5 + jitter / 2))
        wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self.opened, 6)) * (0.5 + jitter / 2)
        return CircuitBreaker(recent, self.opened + 1, max(self.until, now + wait))
