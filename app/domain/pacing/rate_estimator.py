"""Estimate from 429s a rate limit that Amazon does not publish. Times are seconds on one monotonic clock.

A 429 is the only evidence of a limit, and each 429 costs time. `capacity_hypotheses` evaluates the evidence;
its docstring has the formulas. A lane sends at SAFETY times the posterior median.

Amazon accepts all requests below its limit, so they do not show that the limit has increased. From time to
time a lane therefore runs a *rate probe*: its rate grows by 6 % with each request until a 429. Probes are
rare, because each costs a 429. They come sooner after a decrease, because the limit may soon increase again.

A lane with little traffic never probes. Its rate recovers with time, and more slowly after each recovery that
ends in a 429.

The constants were tuned in simulation (tests/domain/test_lanes.py). Half or twice the value of most constants
changes little.
"""

from dataclasses import dataclass, replace
from typing import Final

from app.domain.pacing.capacity_hypotheses import CapacityHypotheses

SAFETY: Final = 0.97  # used share of the estimated limit
PROBE_GROWTH: Final = 1.06  # factor of the rate with each request of a probe
PROBE_AFTER_S: Final = 25.0  # from the last 429 to the next probe
PROBE_AFTER_REQUESTS: Final = 60  # accepted before a probe, so that its 429 is less than 2 % of the requests
DROP: Final = 0.6  # a new rate below this share of the old rate is a drop
EARLY_PROBES: Final = 3  # number of early probes after a drop
EARLY_PROBE_AFTER_S: Final = 12.0  # from the last 429 to an early probe
UNDECIDED: Final = 1.5  # a limit is undecided if it is this many times the estimate with probability 0.1
UNDECIDED_PROBE_AFTER_S: Final = 3.0  # from the last 429 to the next probe of an undecided limit
QUIET_S: Final = 120.0  # from the last 429 until the rate of a lane with little traffic recovers
MAX_QUIET_S: Final = 1_800.0  # the longest such time: it doubles when a recovery ends in a 429
DOUBLES_IN_S: Final = 60.0  # a recovering rate doubles in this time
LITTLE_TRAFFIC: Final = 0.5  # a lane with little traffic sends at most this share of the allowed requests
WINDOWS: Final = 10  # from a 429 to the next probe pass at least this many times its Retry-After


@dataclass(frozen=True, slots=True)
class RateEstimate:
    """The estimate of a lane's true limit. `rate` is None before the first 429."""

    rate: float | None = None
    hypotheses: CapacityHypotheses | None = None  # None until the first response after `from_former_owner`
    rate_before_probe: float | None = None  # None outside a probe
    probe_at: float = 0.0
    early_probes: int = 0  # number of early probes that are left
    allows_bursts: bool = False  # requests need not be evenly spaced to the millisecond
    requests: int = 0  # accepted since the last 429
    sent_at: float = float("-inf")  # of the last request whose response was evaluated
    refused_at: float = float("-inf")  # of the last 429
    quiet_s: float = QUIET_S  # from the last 429 until the rate recovers

    @classmethod
    def from_former_owner(cls, rate: float, now: float) -> "RateEstimate":
        """Return the first estimate of a worker that took over a lane with this rate.

        Early probes follow, as after a drop, because the limit may have decreased shortly before.
        """
        return cls(
            rate, probe_at=now + EARLY_PROBE_AFTER_S, early_probes=EARLY_PROBES, sent_at=now, refused_at=now
        )

    def rate_at(self, now: float, *, limit: float) -> float | None:
        """Return the rate to use now, at most `limit`: higher than the estimate if it has recovered."""
        if self.rate is None:
            return None
        quiet = now - self.refused_at
        if quiet <= self.quiet_s or self.requests > LITTLE_TRAFFIC * self.rate * quiet:
            return self.rate
        factor: float = 2.0 ** min((quiet - self.quiet_s) / DOUBLES_IN_S, 20.0)
        return min(limit, self.rate * factor)

    @property
    def settled_rate(self) -> float | None:
        """The rate to store for the next owner of the lane, without the effect of a running probe."""
        return self.rate if self.rate_before_probe is None else self.rate_before_probe

    def accepted(self, now: float, *, sent_at: float, limit: float) -> "RateEstimate":
        """Return the estimate after Amazon accepted a request. `limit` is the configured rate."""
        if self.rate is None or sent_at < self.sent_at:
            return self
        if self.rate_before_probe is None and (self.rate_at(now, limit=limit) or limit) >= limit:
            # The rate has recovered completely: the evidence is old, and the configured limit applies again.
            return RateEstimate(refused_at=self.refused_at, quiet_s=self.quiet_s)
        # A probe needs requests that wait for the rate limit: otherwise a higher rate has no effect.
        is_rate_bound = sent_at - self.sent_at <= 1.6 / self.rate + 0.15
        hypotheses = self._hypotheses(limit, sent_at).accepted(sent_at)
        rate, rate_before_probe = SAFETY * hypotheses.rate_reached(), None
        if self.rate_before_probe is not None and is_rate_bound:
            rate, rate_before_probe = max(rate, self.rate * PROBE_GROWTH), self.rate_before_probe
            if hypotheses.rate_reached() >= limit and rate >= limit:
                return RateEstimate()  # Amazon accepts the configured rate
        elif (
            is_rate_bound
            and now >= self.probe_at
            and (self.early_probes or self.requests >= PROBE_AFTER_REQUESTS)
        ):
            hypotheses = hypotheses.after_possible_change()
            rate, rate_before_probe = self.rate * PROBE_GROWTH, self.rate
        return replace(
            self,
            rate=min(rate, limit),
            hypotheses=hypotheses,
            rate_before_probe=rate_before_probe,
            allows_bursts=hypotheses.allows_bursts,
            requests=self.requests + 1,
            sent_at=sent_at,
        )

    def throttled(self, now: float, *, sent_at: float, limit: float, wait: float) -> "RateEstimate":
        """Return the estimate after a 429, which blocks the lane for `wait` seconds."""
        if sent_at < self.sent_at:
            return self  # sent before the last evaluated request: the same evidence would count twice
        hypotheses = self._hypotheses(limit, sent_at)
        if self.rate_before_probe is None:  # a probe applies the transition when it starts
            hypotheses = hypotheses.after_possible_change()
        hypotheses = hypotheses.refused(sent_at)
        rate, early_probes = SAFETY * hypotheses.rate_reached(), self.early_probes
        if self.rate_before_probe is not None:
            has_risen = rate > 1.1 * self.rate_before_probe
            early_probes = 0 if has_risen else max(0, early_probes - 1)
        elif self.rate is not None and rate < DROP * self.rate:
            early_probes = EARLY_PROBES
        rest = EARLY_PROBE_AFTER_S if early_probes else PROBE_AFTER_S
        if self.rate_before_probe is not None and hypotheses.rate_reached(0.1) > UNDECIDED * rate:
            # Either the limit or the burst is higher than estimated. The bucket is empty now, so the next
            # probe decides.
            early_probes, rest = max(1, early_probes), UNDECIDED_PROBE_AFTER_S
        since, quiet_s = now - self.refused_at, self.quiet_s
        if since > quiet_s:
            # The recovery of the rate may have caused this 429, so the next recovery starts twice as late. A
            # 429 after a long recovery has another cause.
            quiet_s = min(MAX_QUIET_S, 2 * quiet_s) if since < WINDOWS * quiet_s else QUIET_S
        return RateEstimate(
            rate=rate,
            hypotheses=hypotheses,
            probe_at=now + max(rest, WINDOWS * wait),
            early_probes=early_probes,
            allows_bursts=hypotheses.allows_bursts,
            sent_at=sent_at,
            refused_at=now,
            quiet_s=quiet_s,
        )

    def _hypotheses(self, limit: float, at: float) -> CapacityHypotheses:
        """Return the hypotheses. They start anew if there are none or the configured limit has changed."""
        if self.hypotheses is not None and self.hypotheses.limit == limit:
            return self.hypotheses
        if self.settled_rate is None:
            return CapacityHypotheses.uniform(limit, at)
        return CapacityHypotheses.around(self.settled_rate / SAFETY, limit, at)
