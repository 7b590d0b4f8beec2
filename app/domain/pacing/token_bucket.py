"""The pace of a lane: when it may send its next request, and how many requests may be in flight.

Rate and burst are enforced by the generic cell rate algorithm (GCRA). Times are seconds on one monotonic
clock.
"""

from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Final

from app.domain.pacing.rate_estimator import RateEstimate

LONGEST_WAIT_S: Final = 15.0  # after a 429 without Retry-After


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `per_second` requests on average, and bursts of at most `burst` (interface §3, rate_limit)."""

    per_second: float
    burst: int

    def lowest(self, other: "RateLimit") -> "RateLimit":
        """Return the lower rate and the lower burst of both limits."""
        return RateLimit(min(self.per_second, other.per_second), min(self.burst, other.burst))


@dataclass(frozen=True, slots=True)
class LanePace:
    """The state of a lane's pace.

    `arrival` is the theoretical arrival time of GCRA: the bucket is full then. `blocked_until` is the end of
    the last Retry-After window. `throttles` counts 429s in a row. `estimate` estimates Amazon's limit from
    429s. `rates_elsewhere` are the rates to which Amazon limits other organisations on the same account.
    """

    arrival: float = 0.0
    blocked_until: float = 0.0
    throttles: int = 0
    in_flight_limit: int = 1
    estimate: RateEstimate = field(default_factory=RateEstimate)
    rates_elsewhere: tuple[float, ...] = ()

    def allowed(self, limit: RateLimit) -> RateLimit:
        """Return the configured limit, or the estimated rate without bursts if that is lower.

        If Amazon limits other organisations too, the rate is at most the mean of all rates. Without this
        rule, the 429s of an organisation that starts to send leave it almost nothing of Amazon's limit.
        """
        rate = self.estimate.rate or limit.per_second
        rate = min(rate, fmean((rate, *self.rates_elsewhere)))
        if rate >= limit.per_second:
            return limit
        # Requests are spaced evenly, because it is unknown which burst Amazon accepts.
        return RateLimit(rate, 1)

    def ready_at(self, limit: RateLimit, now: float) -> float:
        """Return the earliest time from `now` on at which a request may be sent."""
        allowed = self.allowed(limit)
        slack = (allowed.burst - 1) / allowed.per_second
        return max(now, self.blocked_until, self.arrival - slack)

    def sent(self, limit: RateLimit, now: float) -> "LanePace":
        """Return the pace after a request was sent at `now`."""
        return replace(self, arrival=max(self.arrival, now) + 1 / self.allowed(limit).per_second)

    def succeeded(self, limit: RateLimit, now: float, *, sent_at: float, cap: int) -> "LanePace":
        """Return the pace after a successful request: `in_flight_limit` grows by one, up to `cap`."""
        estimate = self.estimate.answered(now, sent_at=sent_at, limit=limit.per_second, throttled=False)
        return replace(
            self, throttles=0, in_flight_limit=min(cap, self.in_flight_limit + 1), estimate=estimate
        )

    def failed(self) -> "LanePace":
        """Return the pace after a failed request: `in_flight_limit` falls to one.

        The circuit breaker reacts to several failures.
        """
        return replace(self, in_flight_limit=1)

    def throttled(
        self, limit: RateLimit, now: float, *, sent_at: float, retry_after: float | None, jitter: float
    ) -> "LanePace":
        """Return the pace after a 429 for the request sent at `sent_at`: the lane waits, then slows down.

        The wait is `retry_after` seconds, plus up to a tenth of jitter so that lanes do not all resume at the
        same time. Without `retry_after` it is the interval between requests at the current rate, but at least
        a tenth of a second. From the third 429 in a row on, it doubles with each, up to LONGEST_WAIT_S.
        `jitter` is in [0, 1); `sent_at` is the time of the refused request.
        """
        if retry_after is not None:
            wait = retry_after * (1 + jitter / 10)
        else:
            rate = self.allowed(limit).per_second
            doubled = 2.0 ** min(max(self.throttles - 1, 0), 8)
            wait = min(LONGEST_WAIT_S, max(0.1, 1 / rate) * doubled) * (1 + jitter / 4)
        estimate = self.estimate.answered(
            now, sent_at=sent_at, limit=limit.per_second, throttled=True, retry_after=retry_after or 0.0
        )
        return replace(
            self,
            blocked_until=max(self.blocked_until, now + wait),
            throttles=self.throttles + 1,
            in_flight_limit=1,
            estimate=estimate,
        )
