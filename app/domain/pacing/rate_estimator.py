"""Follow a rate limit that Amazon does not publish, by the share of 429s. Times are monotonic seconds.

Amazon's limits change, and a few 429s come at any rate. So one 429 only blocks the lane for its Retry-After,
and the share of 429s among the last requests decides on the rate:

- More than `FEW`: the rate falls, at first below the last rate with few 429s. If that is not enough, it falls
  to the part that Amazon accepted.
- At most `FEW`: the rate rises by a step. Steps are small near the *ceiling*, the last rate with few 429s
  before a decrease, and large elsewhere.

Each step is a probe: Amazon accepts all requests below its limit, so only a higher rate shows that it rose.
`tests/domain/test_lanes.py` simulates the rules. Half or twice the value of most constants changes little.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

FEW: Final = 0.07  # share of 429s that does not lower the rate
LEAST_THROTTLES: Final = 4  # fewer 429s say nothing about their share
LEAST_REQUESTS: Final = 20  # a decision needs so many requests, or DECISION_S
DECISION_S: Final = 10.0
MOST_REQUESTS: Final = 60  # with some 429s, but at most FEW, a step needs so many requests
NEAR_S: Final = 30.0  # a step near the ceiling needs MOST_REQUESTS, or this time
LARGEST_CUT: Final = 0.5  # of the rate, at one decision
MARGIN: Final = 0.9  # the rate after a decrease, as a part of what Amazon accepted
SMALL_STEP: Final = 1.05  # factor of the rate near the ceiling
LARGE_STEP: Final = 1.3  # factor of the rate elsewhere
NEAR: Final = (0.9, 1.04)  # the range around the ceiling, as parts of it
LEAST_RATE: Final = 0.05  # requests a second


@dataclass(frozen=True, slots=True)
class RateEstimate:
    """The estimated limit of a lane. `rate` is None while the configured limit applies.

    `proven` is the last rate with few 429s since the last decrease. `requests` and `throttles` count the
    evaluated requests that were sent since `since`, and the 429s among them. `streak` counts those after the
    last 429.
    """

    rate: float | None = None
    ceiling: float | None = None
    proven: float | None = None
    requests: int = 0
    throttles: int = 0
    streak: int = 0
    since: float = 0.0

    @classmethod
    def from_former_owner(cls, rate: float, now: float) -> "RateEstimate":
        """Return the estimate of a worker that took over a lane with this rate."""
        return cls(rate, ceiling=rate, since=now)

    def answered(self, now: float, *, sent_at: float, limit: float, throttled: bool) -> "RateEstimate":
        """Return the estimate after a response other than a failure. `limit` is the configured rate."""
        if sent_at < self.since:
            return self  # sent at an earlier rate
        counted = replace(
            self,
            requests=self.requests + 1,
            throttles=self.throttles + throttled,
            streak=0 if throttled else self.streak + 1,
        )
        share, elapsed = counted.throttles / counted.requests, now - self.since
        rate = min(limit, self.rate or limit)
        if throttled:
            may_decide = counted.requests >= LEAST_REQUESTS or elapsed >= DECISION_S
            is_excess = share > FEW and counted.throttles >= LEAST_THROTTLES and may_decide
            return counted._lower(now, rate, limit, share) if is_excess else counted
        is_near = self._is_near(rate)
        needed, seconds = (MOST_REQUESTS, NEAR_S) if is_near else (LEAST_REQUESTS, DECISION_S)
        may_rise = (
            counted.streak >= needed
            or (counted.requests >= MOST_REQUESTS and share <= FEW)
            or (elapsed >= seconds and not counted.throttles)
        )
        if not may_rise:
            return counted
        # A slow lane takes the steps of the time that passed.
        risen = self._risen(rate, steps=max(1.0, min(elapsed / DECISION_S, 20.0)))
        return RateEstimate(None if risen >= limit else risen, self.ceiling, proven=rate, since=now)

    def _is_near(self, rate: float) -> bool:
        return self.ceiling is not None and NEAR[0] <= rate / self.ceiling <= NEAR[1]

    def _lower(self, now: float, rate: float, limit: float, share: float) -> "RateEstimate":
        if share == 1:
            # Amazon accepts nothing, which says nothing about its limit. The lane waits after each 429.
            return RateEstimate(min(rate, MARGIN * LARGEST_CUT * limit), self.ceiling, since=now)
        accepted = rate * max(LARGEST_CUT, 1 - share)
        if self.proven is not None and self.proven < rate:
            return RateEstimate(MARGIN * max(self.proven, accepted), self.proven, since=now)
        ceiling = self.proven or rate * (1 - share)
        return RateEstimate(max(LEAST_RATE, MARGIN * accepted), ceiling, since=now)

    def _risen(self, rate: float, *, steps: float) -> float:
        small, large = rate * math.pow(SMALL_STEP, steps), rate * math.pow(LARGE_STEP, steps)
        if self._is_near(rate):
            return small
        if self.ceiling is not None and rate < self.ceiling:
            return min(large, max(NEAR[0] * self.ceiling, small))
        return large
