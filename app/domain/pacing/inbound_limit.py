"""A limit of events per second for requests of any size: a token bucket that may become negative. Pure."""

BURST_SECONDS = 1.0


class InboundLimit:
    """The remaining events of the limit. Times are seconds on one monotonic clock."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._left = rate * BURST_SECONDS
        self._as_of = now

    def wait(self, now: float) -> float:
        """Return the seconds until a request is admitted; 0 or less for now."""
        self._refill(now)
        return 0.0 if self._left >= 1 else (1 - self._left) / self.rate

    def take(self, events: int, now: float) -> None:
        """Count events. Events above the limit make the bucket negative, so later requests wait."""
        self._refill(now)
        self._left -= events

    def _refill(self, now: float) -> None:
        self._left = min(self.rate * BURST_SECONDS, self._left + (now - self._as_of) * self.rate)
        self._as_of = now
