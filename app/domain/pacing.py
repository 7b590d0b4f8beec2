"""The pace of a lane: a rate and a burst (GCRA), a gate after 429, and how many requests may be in flight."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `per_second` requests in the long run and `burst` at once (interface §3, rate_limit)."""

    per_second: float
    burst: int

    def lowest(self, other: "Limit") -> "Limit":
        """Return the stricter of two, part by part: destinations of one lane share its pace."""
        return Limit(min(self.per_second, other.per_second), min(self.burst, other.burst))


@dataclass(frozen=True, slots=True)
class Pace:
    """Where a lane stands; all times are seconds on one monotonic clock.

    `arrival` is GCRA's theoretical arrival time: the moment at which the bucket is full again.
    `gate` is the end of the last Retry-After window. `throttles` and `failures` count 429s and
    failed requests in a row.
    """

    arrival: float = 0.0
    gate: float = 0.0
    throttles: int = 0
    failures: int = 0
    in_flight_limit: int = 1

    def ready_at(self, limit: Limit, now: float) -> float:
        """Return the earliest moment, not before `now`, at which one request may leave."""
        slack = (limit.burst - 1) / limit.per_second
        return max(now, self.gate, self.arrival - slack)

    def sent(self, limit: Limit, now: float) -> "Pace":
        """Return the pace after one request left at `now`."""
        return replace(self, arrival=max(self.arrival, now) + 1 / limit.per_second)

    def succeeded(self, *, cap: int) -> "Pace":
        """Return the pace after an answered request: one more may be in flight, up to `cap`."""
        return replace(self, throttles=0, failures=0, in_flight_limit=min(cap, self.in_flight_limit + 1))

    def failed(self, now: float, *, jitter: float) -> "Pace":
        """Return the pace after a request that Amazon did not answer well.

        One in flight, as a probe, after a wait that doubles from half a second to half a minute: an
        advertiser whose requests all fail costs almost nothing.
        """
        wait = min(30.0, 0.5 * 2.0 ** min(self.failures, 6)) * (0.5 + jitter / 2)
        return replace(
            self, gate=max(self.gate, now + wait), failures=self.failures + 1, in_flight_limit=1
        )

    def throttled(self, now: float, *, retry_after: float | None, jitter: float) -> "Pace":
        """Return the pace after a 429: the gate is shut until its window has passed.

        `retry_after` in seconds is kept to the letter, plus up to a tenth of jitter above it so that
        lanes do not all come back in one instant. Absent, the wait doubles from one second to a minute.
        `jitter` is in [0, 1).
        """
        if retry_after is not None:
            wait = retry_after * (1 + jitter / 10)
        else:
            wait = min(60.0, 2.0 ** min(self.throttles, 6)) * (0.5 + jitter / 2)
        return replace(self, gate=max(self.gate, now + wait), throttles=self.throttles + 1, in_flight_limit=1)
