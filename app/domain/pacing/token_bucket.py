"""The pace of a lane: a rate and a burst (GCRA), a gate after 429, a learned rate, requests in flight.

Times are seconds on one monotonic clock. What a 429 teaches about the rate is in `learning`.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from app.domain.pacing.rate_estimator import RateEstimate

LATE: Final = 0.6  # of the time between two requests: so late may one be without delaying the next


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `per_second` requests in the long run and `burst` at once (interface §3, rate_limit)."""

    per_second: float
    burst: int

    def lowest(self, other: "RateLimit") -> "RateLimit":
        """Return the stricter of two, part by part: destinations of one lane share its pace."""
        return RateLimit(min(self.per_second, other.per_second), min(self.burst, other.burst))


@dataclass(frozen=True, slots=True)
class LanePace:
    """Where a lane stands.

    `arrival` is GCRA's theoretical arrival time: the moment at which the bucket is full again.
    `gate` is the end of the last Retry-After window. `throttles` counts 429s in a row. `learned` is the
    rate below the configured limit that 429s have taught, if any did.
    """

    arrival: float = 0.0
    gate: float = 0.0
    throttles: int = 0
    in_flight_limit: int = 1
    learned: RateEstimate = field(default_factory=RateEstimate)

    def allowed(self, limit: RateLimit, now: float) -> RateLimit:
        """Return the limit in force: the configured one, or what was learned, which grants no burst."""
        rate = self.learned.rate_at(now, limit=limit.per_second)
        if rate is None or rate >= limit.per_second:
            return limit
        # How much Amazon lets through at once is not known: requests are spread evenly.
        return RateLimit(rate, 1)

    def ready_at(self, limit: RateLimit, now: float) -> float:
        """Return the earliest moment, not before `now`, at which one request may leave."""
        allowed = self.allowed(limit, now)
        slack = (allowed.burst - 1) / allowed.per_second
        return max(now, self.gate, self.arrival - slack)

    def sent(self, limit: RateLimit, now: float) -> "LanePace":
        """Return the pace after one request left at `now`.

        A request takes some time from its turn to its leaving. At a learned rate that would be lost each
        time; where more than one is taken at once, the next turn counts from when this one should have left.
        """
        allowed, late = self.allowed(limit, now), 0.0
        if self.learned.is_roomy and allowed is not limit:
            # Never so much that two would leave closer than the configured limit allows.
            late = min(LATE / allowed.per_second, 1 / allowed.per_second - 1 / limit.per_second)
        return replace(self, arrival=max(self.arrival, now - late) + 1 / allowed.per_second)

    def succeeded(self, limit: RateLimit, now: float, *, sent_at: float, cap: int) -> "LanePace":
        """Return the pace after an answered request: one more may be in flight, up to `cap`."""
        learned = self.learned.taken(now, sent_at=sent_at, limit=limit.per_second)
        return replace(self, throttles=0, in_flight_limit=min(cap, self.in_flight_limit + 1), learned=learned)

    def failed(self) -> "LanePace":
        """Return the pace after a request that Amazon did not answer well: one in flight at a time.

        What follows from many of them is the breaker's to say.
        """
        return replace(self, in_flight_limit=1)

    def throttled(
        self, limit: RateLimit, now: float, *, sent_at: float, retry_after: float | None, jitter: float
    ) -> "LanePace":
        """Return the pace after a 429: the gate is shut until its window has passed, and the rate falls.

        `retry_after` in seconds is kept to the letter, plus up to a tenth of jitter above it so that
        lanes do not all come back in one instant. Absent, the wait is that of a request at the rate so
        far, at least a quarter of a second, doubled for each 429 in a row from the second on, up to a
        minute. `jitter` is in [0, 1); `sent_at` is when the refused request left.
        """
        if retry_after is not None:
            wait = retry_after * (1 + jitter / 10)
        else:
            rate = self.learned.rate_at(now, limit=limit.per_second) or limit.per_second
            doubled = 2.0 ** min(max(self.throttles - 1, 0), 8)
            wait = min(60.0, max(0.25, 1 / rate) * doubled) * (1 + jitter / 4)
        learned = self.learned.throttled(now, sent_at=sent_at, limit=limit.per_second, wait=wait)
        gate = max(self.gate, now + wait)
        return replace(self, gate=gate, throttles=self.throttles + 1, in_flight_limit=1, learned=learned)
