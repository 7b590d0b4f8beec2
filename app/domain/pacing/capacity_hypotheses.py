"""Which limit would have answered as Amazon did? All that might be are kept in mind, and doubted by error.

Amazon is taken to keep a token bucket: so many requests a second, and so many at once. Each pair of a grid
is a belief. Every request is poured through all of them, and one that would have answered otherwise loses
weight, by how much its bucket was too empty for a request that was taken, or too full for one that was
refused. How full a bucket is, is known between bounds only: a refusal says that less than one request was
there.

So nothing that was seen is lost: a look, a fall, what flowed in during a window and what many 429s add up to
are all weighed in one way. Pure; times are seconds on one monotonic clock.
"""

from array import array
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log
from typing import Final

STEP: Final = 1.04  # from one rate of the grid to the next
SPAN: Final = 64.0  # of the grid: the configured limit over the lowest that is believed in
# Requests at once, and how far each is believed in at first. A bucket of one looks like any other whose
# requests come a little early, and explains too much.
BURSTS: Final = (1.0, 2.0, 3.0, 5.0, 8.0)
AT_FIRST: Final = (0.1, 0.3, 0.2, 0.2, 0.2)
# An error of a whole request makes a belief so many times e less likely. Few requests are late by much, and
# each is late by itself, so a full bucket that refused is a worse sign than a grid's rounding, which adds up.
DOUBT_TAKEN: Final = 8.0
DOUBT_REFUSED: Final = 60.0
NEARLY: Final = 0.97  # so much of a request may be there where one is refused that came a moment early
MOST_DOUBT: Final = 4.0  # from one answer: whatever happened once may have been an accident
ROOMY: Final = 0.25  # with less than this chance of a bucket of one, requests need not be spread evenly
MOVED: Final = 0.03  # the chance that the limit moved meanwhile, wherever that is in question


@dataclass(frozen=True, slots=True)
class CapacityHypotheses:
    """Beliefs, by burst and then by rate: bounds of the tokens in each, and its weight; weights are 1 in all.

    `limit` is the highest rate believed in, `at` the moment of the last request.
    """

    limit: float
    low: "array[float]"
    high: "array[float]"
    weight: "array[float]"
    at: float

    @classmethod
    def below(cls, limit: float, at: float) -> "CapacityHypotheses":
        """Return what is believed where nothing is known but that `limit` is too much: all rates alike."""
        count = len(rates_below(limit))
        return cls(
            limit,
            low=array("d", [0.0] * count * len(BURSTS)),
            high=array("d", [burst for burst in BURSTS for _ in range(count)]),
            weight=array("d", [share / count for share in AT_FIRST for _ in range(count)]),
            at=at,
        )

    @classmethod
    def around(cls, rate: float, limit: float, at: float) -> "CapacityHypotheses":
        """Return what is believed where somebody else had found `rate`, of whatever burst."""
        rates = rates_below(limit)
        nearest = min(rates, key=lambda one: abs(log(one / rate)))
        told = array("d", [share * (one == nearest) for share in AT_FIRST for one in rates])
        return replace(cls.below(limit, at), weight=told).questioned()

    def questioned(self) -> "CapacityHypotheses":
        """Return them where the limit may have moved: to any rate, hardly to another burst."""
        count, weight = len(rates_below(self.limit)), array("d")
        for start in range(0, len(self.weight), count):
            part = self.weight[start : start + count]
            share = sum(part) * MOVED / count
            weight.extend([one * (1 - MOVED) + share for one in part])
        return replace(self, weight=weight)

    def taken(self, at: float) -> "CapacityHypotheses":
        """Return them after a request of that moment was taken: one was there, and is gone."""
        passed, rates = max(0.0, at - self.at), rates_below(self.limit)
        flows, count = [rate * passed for rate in rates], len(rates)
        low, high, weight = array("d"), array("d"), array("d")
        for nth, burst in enumerate(BURSTS):
            part = slice(nth * count, (nth + 1) * count)
            for flow, least, most, likely in zip(
                flows, self.low[part], self.high[part], self.weight[part], strict=True
            ):
                filled = least + flow
                low.append((burst if filled > burst else filled) - 1 if filled > 1 else 0.0)
                filled = most + flow
                if filled > burst:
                    filled = burst
                elif filled < 1:
                    weight.append(likely * exp(max(-MOST_DOUBT, DOUBT_TAKEN * (filled - 1))))
                    high.append(0.0)
                    continue
                weight.append(likely)
                high.append(filled - 1)
        return self._weighed(low, high, weight, at)

    def refused(self, at: float) -> "CapacityHypotheses":
        """Return them after a request of that moment was refused: less than one was there."""
        passed, rates = max(0.0, at - self.at), rates_below(self.limit)
        flows, weight = [rate * passed for rate in rates] * len(BURSTS), array("d")
        for flow, least, likely in zip(flows, self.low, self.weight, strict=True):
            over = least + flow - NEARLY
            weight.append(likely * exp(max(-MOST_DOUBT, -DOUBT_REFUSED * over)) if over > 0 else likely)
        return self._weighed(array("d", [0.0] * len(weight)), array("d", [1.0] * len(weight)), weight, at)

    def _weighed(
        self, low: "array[float]", high: "array[float]", weight: "array[float]", at: float
    ) -> "CapacityHypotheses":
        total = sum(weight)
        shares = array("d", [one / total for one in weight])
        return CapacityHypotheses(self.limit, low, high, shares, max(at, self.at))

    @property
    def is_roomy(self) -> bool:
        """Tell whether more than one request at once is taken, as far as is known."""
        return sum(self.weight[: len(rates_below(self.limit))]) < ROOMY

    def reached(self, chance: float = 0.5) -> float:
        """Return the highest rate that the true limit reaches with this chance."""
        rates, missed = rates_below(self.limit), 0.0
        for nth, rate in enumerate(rates):
            missed += sum(self.weight[nth :: len(rates)])
            if missed > 1 - chance:
                return rate
        return self.limit


@lru_cache(maxsize=64)
def rates_below(limit: float) -> tuple[float, ...]:
    """Return the rates of the grid, rising, up to `limit`."""
    steps = round(log(SPAN) / log(STEP))
    return tuple(limit / STEP**nth for nth in range(steps, -1, -1))
