"""A limit of events a second, over requests of any size: a token bucket that may go into debt. Pure."""


class InboundLimit:
    """How many events may still be admitted. Times are seconds on one monotonic clock."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._left = rate  # a burst of one second
        self._as_of = now

    def wait(self, now: float) -> float:
        """Return the seconds until a request is admitted; 0 or less for now."""
        self._refill(now)
        return (1 - self._left) / self.rate

    def take(self, events: int, now: float) -> None:
        """Count events. What exceeds the limit is owed: the requests after it wait."""
        self._refill(now)
        self._left -= events

    def _refill(self, now: float) -> None:
        self._left = min(self.rate, self._left + (now - self._as_of) * self.rate)
        self._as_of = now
