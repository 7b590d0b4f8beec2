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
COSTLY: Final = 0.18  # 429s are costly if the lane could have sent this part of its requests meanwhile
PROBE_COST: Final = 7.0  # a step after costly ones needs so many times the requests that a 429 costs
TRIALS: Final = (0.95, 0.9, 0.75, 0.6)  # factors of the steps down before costly 429s count as random
RANDOM_S: Final = 300.0  # how long they count as random


@dataclass(frozen=True, slots=True)
class RateEstimate:
    """The estimated limit of a lane. `rate` is None while the configured limit applies.

    `proven` is the last rate with few 429s since the last decrease. `requests` and `throttles` count the
    evaluated requests since the last decision, and the 429s among them. Requests before `since` were sent at
    an earlier rate. `streak` counts those after the last 429. `cost` is the number of requests that the lane
    could have sent in the last Retry-After. `tried_from` is the rate before the first of `trials`, the
    steps down after costly 429s. Until `random_until`, costly 429s count as random.
    """

    rate: float | None = None
    ceiling: float | None = None
    proven: float | None = None
    requests: int = 0
    throttles: int = 0
    streak: int = 0
    since: float = 0.0
    cost: float = 0.0
    tried_from: float = 0.0
    trials: int = 0
    random_until: float = float("-inf")

    @classmethod
    def from_former_owner(cls, rate: float, now: float) -> "RateEstimate":
        """Return the estimate of a worker that took over a lane with this rate."""
        return cls(rate, ceiling=rate, since=now)

    def answered(
        self, now: float, *, sent_at: float, limit: float, throttled: bool, retry_after: float | None = None
    ) -> "RateEstimate":
        """Return the estimate after a response other than a failure. `limit` is the configured rate.

        `retry_after` is the Retry-After of a 429 in seconds.
        """
        if sent_at < self.since:
            return self  # sent at an earlier rate
        rate = min(limit, self.rate or limit)
        counted = replace(
            self,
            requests=self.requests + 1,
            throttles=self.throttles + throttled,
            streak=0 if throttled else self.streak + 1,
            cost=rate * (retry_after or 0.0) if throttled else self.cost,
        )
        share, elapsed = counted.throttles / counted.requests, now - self.since
        if throttled:
            may_decide = counted.requests >= LEAST_REQUESTS or elapsed >= DECISION_S
            if share > FEW and counted.throttles >= LEAST_THROTTLES and may_decide:
                return counted._lower(now, rate, limit, share)
            is_random = now < self.random_until or share == 1 or not counted._is_costly
            return counted if is_random else counted._try_lower(now, rate, limit)
        needed, seconds = (LEAST_REQUESTS, DECISION_S)
        is_near = self.ceiling is not None and NEAR[0] <= rate / self.ceiling <= NEAR[1]
        if is_near or self.trials:
            needed, seconds = max(MOST_REQUESTS, round(PROBE_COST * self.cost)), NEAR_S
        has_few = share <= FEW and not (self.trials and counted._is_costly)
        may_rise = (
            counted.streak >= needed
            or (elapsed >= seconds and not counted.throttles)
            or (has_few and counted.requests >= max(needed, MOST_REQUESTS))
        )
        if not may_rise:
            return counted
        # A slow lane takes the steps of the time that passed.
        steps = max(1.0, min(elapsed / DECISION_S, 20.0))
        risen = rate * math.pow(SMALL_STEP, steps) if is_near else self._risen(rate, steps)
        return self._next(None if risen >= limit else risen, self.ceiling, now, proven=rate)

    def _next(
        self, rate: float | None, ceiling: float | None, now: float, *, proven: float | None = None
    ) -> "RateEstimate":
        """Return the estimate after a decision: its counts start again."""
        return RateEstimate(rate, ceiling, proven, since=now, cost=self.cost, random_until=self.random_until)

    def _try_lower(self, now: float, rate: float, limit: float) -> "RateEstimate":
        """Take a step down, because a costly 429 at the present rate may come again and again.

        If the 429s do not end after some steps, the rate is not their cause, and the old rate applies again.
        """
        if self.trials < len(TRIALS):
            return replace(
                self,
                rate=rate * TRIALS[self.trials],
                ceiling=rate * TRIALS[0],
                since=now,
                streak=0,
                trials=self.trials + 1,
                tried_from=self.tried_from if self.trials else rate,
            )
        if self.requests < MOST_REQUESTS:
            return self
        restored = None if self.tried_from >= limit else self.tried_from
        return replace(self._next(restored, None, now), random_until=now + RANDOM_S)

    @property
    def _is_costly(self) -> bool:
        """Whether the lane lost much of its time to the Retry-After of 429s."""
        return self.throttles * self.cost > COSTLY * (self.requests + LEAST_REQUESTS)

    def _lower(self, now: float, rate: float, limit: float, share: float) -> "RateEstimate":
        if share == 1:
            # Amazon accepts nothing, which says nothing about its limit. The lane waits after each 429.
            return self._next(min(rate, MARGIN * LARGEST_CUT * limit), self.ceiling, now)
        accepted = rate * max(LARGEST_CUT, 1 - share)
        if self.proven is not None and self.proven < rate:
            return self._next(MARGIN * max(self.proven, accepted), self.proven, now)
        ceiling = self.proven or rate * (1 - share)
        return self._next(max(LEAST_RATE, MARGIN * accepted), ceiling, now)

    def _risen(self, rate: float, steps: float) -> float:
        """Return the rate after steps that begin elsewhere than near the ceiling. They end before it."""
        large = rate * math.pow(LARGE_STEP, steps)
        if self.ceiling is not None and rate < self.ceiling:
            return min(large, max(NEAR[0] * self.ceiling, rate * math.pow(SMALL_STEP, steps)))
        return large
