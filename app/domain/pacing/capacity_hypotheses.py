"""Infer Amazon's rate limit from its responses, by Bayes' rule over a grid of candidate limits.

Amazon is modelled as a token bucket with a rate r and a burst b. Each pair (r, b) of the grid is a
hypothesis. Its weight is its posterior probability. Every request updates all hypotheses:

    fill        x' = min(b, x + r·Δt). Only two bounds are known, low ≤ x ≤ high, because a refusal only
                shows that less than one token was in the bucket
    accepted    L = exp(-max(0, 1 - high') * ACCEPTED_PENALTY): a bucket too empty to accept is unlikely.
                Then low = max(0, low' - 1), high = max(0, high' - 1)
    refused     L = exp(-max(0, low + r·Δt - NEAR_ONE) * REFUSED_PENALTY): a bucket too full to refuse is
                unlikely. Tokens that flowed into a full bucket count too. Then low = 0, high = 1
    posterior   w ← w·L / Σ w·L, with log L ≥ -MAX_PENALTY, so that an unusual response has little effect
    transition  w(r, b) ← (1 - CHANGE)·w(r, b) + CHANGE·mean of w(·, b): with probability CHANGE the limit has
                moved to any rate of the grid, with the same burst. Applied before a probe, and at a 429
                outside a probe

Pure; times are seconds on one monotonic clock.
"""

from array import array
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log
from typing import Final

STEP: Final = 1.04  # ratio of each rate of the grid to the rate below it
SPAN: Final = 64.0  # ratio of the configured limit to the lowest rate of the grid
# Bursts of the grid and their prior weights. The prior of a burst of one is low, because it also explains
# refusals by larger buckets if requests come a little early.
BURSTS: Final = (1.0, 2.0, 3.0, 5.0, 8.0)
BURST_PRIOR: Final = (0.1, 0.3, 0.2, 0.2, 0.2)
# Log-likelihood per token of error. An acceptance by an empty bucket counts less than a refusal by a full
# bucket, because rounding errors of the grid add up over accepted requests.
ACCEPTED_PENALTY: Final = 8.0
REFUSED_PENALTY: Final = 60.0
NEAR_ONE: Final = 0.97  # tokens that may be present at a refusal, because requests may come slightly early
MAX_PENALTY: Final = 4.0  # bound of the log-likelihood of one response
SINGLE_BURST_CHANCE: Final = 0.25  # below this posterior of a burst of one, requests need no even spacing
CHANGE: Final = 0.03  # probability that the limit has changed, per transition


@dataclass(frozen=True, slots=True)
class CapacityHypotheses:
    """The bounds of the tokens and the weight of each hypothesis, ordered by burst and then by rate.

    `limit` is the highest rate of the grid, and `at` is the time of the last request.
    """

    limit: float
    low: "array[float]"
    high: "array[float]"
    weight: "array[float]"
    at: float

    @classmethod
    def uniform(cls, limit: float, at: float) -> "CapacityHypotheses":
        """Return the prior if nothing is known but an upper limit: all rates are equally likely."""
        count = len(rates_below(limit))
        return cls(
            limit,
            low=array("d", [0.0] * count * len(BURSTS)),
            high=array("d", [burst for burst in BURSTS for _ in range(count)]),
            weight=array("d", [share / count for share in BURST_PRIOR for _ in range(count)]),
            at=at,
        )

    @classmethod
    def around(cls, rate: float, limit: float, at: float) -> "CapacityHypotheses":
        """Return the prior if the previous owner of the lane estimated `rate`; the burst is unknown."""
        rates = rates_below(limit)
        nearest = min(rates, key=lambda candidate: abs(log(candidate / rate)))
        weight = array("d", [share * (candidate == nearest) for share in BURST_PRIOR for candidate in rates])
        return replace(cls.uniform(limit, at), weight=weight).after_possible_change()

    def after_possible_change(self) -> "CapacityHypotheses":
        """Apply the transition: the limit may have changed to any rate, with the same burst."""
        count, weight = len(rates_below(self.limit)), array("d")
        for start in range(0, len(self.weight), count):
            part = self.weight[start : start + count]
            share = sum(part) * CHANGE / count
            weight.extend([old * (1 - CHANGE) + share for old in part])
        return replace(self, weight=weight)

    def accepted(self, at: float) -> "CapacityHypotheses":
        """Return the posterior after Amazon accepted a request at time `at`. The request used a token."""
        elapsed, rates = max(0.0, at - self.at), rates_below(self.limit)
        inflows, count = [rate * elapsed for rate in rates], len(rates)
        low, high, weight = array("d"), array("d"), array("d")
        for row, burst in enumerate(BURSTS):
            part = slice(row * count, (row + 1) * count)
            for inflow, least, most, prior in zip(
                inflows, self.low[part], self.high[part], self.weight[part], strict=True
            ):
                filled = least + inflow
                low.append((burst if filled > burst else filled) - 1 if filled > 1 else 0.0)
                filled = most + inflow
                if filled > burst:
                    filled = burst
                elif filled < 1:
                    weight.append(prior * exp(max(-MAX_PENALTY, ACCEPTED_PENALTY * (filled - 1))))
                    high.append(0.0)
                    continue
                weight.append(prior)
                high.append(filled - 1)
        return self._normalized(low, high, weight, at)

    def refused(self, at: float) -> "CapacityHypotheses":
        """Return the posterior after Amazon refused a request at time `at`."""
        elapsed, rates = max(0.0, at - self.at), rates_below(self.limit)
        inflows, weight = [rate * elapsed for rate in rates] * len(BURSTS), array("d")
        for inflow, least, prior in zip(inflows, self.low, self.weight, strict=True):
            excess = least + inflow - NEAR_ONE
            weight.append(prior * exp(max(-MAX_PENALTY, -REFUSED_PENALTY * excess)) if excess > 0 else prior)
        return self._normalized(array("d", [0.0] * len(weight)), array("d", [1.0] * len(weight)), weight, at)

    def _normalized(
        self, low: "array[float]", high: "array[float]", weight: "array[float]", at: float
    ) -> "CapacityHypotheses":
        total = sum(weight)
        posterior = array("d", [product / total for product in weight])
        return CapacityHypotheses(self.limit, low, high, posterior, max(at, self.at))

    @property
    def allows_bursts(self) -> bool:
        """Whether Amazon probably accepts bursts."""
        return sum(self.weight[: len(rates_below(self.limit))]) < SINGLE_BURST_CHANCE

    def rate_reached(self, probability: float = 0.5) -> float:
        """Return the highest rate that the true limit reaches with this probability; 0.5 gives the median."""
        rates, below = rates_below(self.limit), 0.0
        for column, rate in enumerate(rates):
            below += sum(self.weight[column :: len(rates)])
            if below > 1 - probability:
                return rate
        return self.limit


@lru_cache(maxsize=64)
def rates_below(limit: float) -> tuple[float, ...]:
    """Return the rates of the grid in ascending order. The last rate is `limit`."""
    steps = round(log(SPAN) / log(STEP))
    return tuple(limit / STEP**step for step in range(steps, -1, -1))
