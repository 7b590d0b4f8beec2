"""Limit the events per second of an organisation: each API process has a share, and a token bucket for it."""

from collections.abc import Sequence
from typing import Final

# A process without demand keeps this part of an equal share, so that its next request is admitted.
_IDLE_PART: Final = 0.1
# Seconds of its share that a bucket holds. It must hold more than a second, because clients wait for whole
# seconds and then come back together.
_BURST_S: Final = 1.5


def share_of(rate: float, demand: float, others: Sequence[float]) -> float:
    """Return the share of a process from its demand and the demands of the others, in events per second.

    Max-min fairness: a small demand is met. The rest of the rate is divided equally among the larger demands.
    If all demands are met, the rest is divided equally among all. The shares add up to the rate.
    """
    waiting, left = len(others) + 1, rate
    idle = _IDLE_PART * rate / waiting
    own = max(demand, idle)
    for least in sorted((own, *(max(other, idle) for other in others))):
        if least * waiting >= left:
            return min(own, left / waiting)
        left -= least
        waiting -= 1
    return own + left / (len(others) + 1)


class InboundLimit:
    """The token bucket of one process. It holds 1.5 seconds of its share, but at most one second of `rate`.

    `part` is the process's first share, as a part of `rate`. Times are seconds on one monotonic clock.
    """

    def __init__(self, rate: float, now: float, *, part: float = 1.0) -> None:
        self.rate = rate
        self._owed = 0.0  # events that were counted and not yet refilled
        self._fill_at(rate * part)
        self._as_of = now

    def wait(self, now: float) -> float:
        """Return the seconds until a request is admitted. It is admitted now if the result is 0 or less."""
        self._refill(now)
        return (self._owed + 1 - self._burst) / self.share

    def take(self, events: int, now: float) -> None:
        """Take events from the bucket. If it has too few, the rest is a debt: later requests wait."""
        self._refill(now)
        self._owed += events

    def divide(self, share: float, seconds: float, now: float) -> None:
        """Set the share, and recompute the refill of the last `seconds` with it.

        The demand was measured in these seconds. If the share was too large, the excess events become a debt.
        """
        self._refill(now)
        self._owed = max(0.0, self._owed + (self.share - share) * seconds)
        self._fill_at(share)

    def _fill_at(self, share: float) -> None:
        self.share = share
        # The bucket must hold one event, however small the share is.
        self._burst = max(1.0, min(self.rate, _BURST_S * share))

    def _refill(self, now: float) -> None:
        self._owed = max(0.0, self._owed - (now - self._as_of) * self.share)
        self._as_of = now
