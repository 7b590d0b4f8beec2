"""Learning a limit nobody was told of: what the answers say about it, and when to ask for more.

A 429 is the only way to find a limit, so each costs something. What they say is weighed in `buckets`; a
lane sends a little below the rate that is as likely as not. That alone never finds that a limit has *risen*,
since what is sent below it is taken either way. So now and then there is a *look*: the rate grows with every
request until a 429. Looks that find nothing cost a 429 each, and are rare; after a fall a few come sooner,
for what fell may soon rise again. A lane that sends little comes to no look: there the rate recovers with
time, later each time that this leads to a 429. The numbers were tried in simulation
(tests/domain/test_lanes.py), where halving or doubling most of them changes little. Pure; times are seconds
on one monotonic clock.
"""

from dataclasses import dataclass, replace
from typing import Final

from app.domain.pacing.capacity_hypotheses import CapacityHypotheses

SAFE: Final = 0.97  # of the likely limit is sent
QUICK: Final = 1.06  # with each request of a look
LOOK_S: Final = 25.0  # from the last 429 to the next look
LOOK_REQUESTS: Final = 60  # and at least so many, so that looks are less than 2 % of them
FELL: Final = 0.6  # of a rate, or less: after such a fall
SOON_S: Final = 12.0  # the next looks come sooner,
SOON: Final = 3  # so many of them
SPLIT: Final = 1.5  # times the likely limit may be reached too (with a chance of a tenth),
SPLIT_S: Final = 3.0  # then one look follows the other
QUIET_S: Final = 120.0  # after the last 429 the rate of a lane that is hardly used begins to recover,
MOST_QUIET_S: Final = 1_800.0  # or later, where that led to a 429 before: each time twice as late
DOUBLES_S: Final = 60.0  # in which it doubles then
HARDLY: Final = 0.5  # of what the rate allows, at most, is hardly used
WINDOWS: Final = 10  # a look waits so many times as long as its 429 shut the lane: time lost counts too


@dataclass(frozen=True, slots=True)
class RateEstimate:
    """What is known of a lane's true limit. `rate` is None until a 429 came: the configured one holds."""

    rate: float | None = None
    buckets: CapacityHypotheses | None = None  # not made yet where a former owner's rate was kept
    base: float | None = None  # the rate before the look that is under way
    look_at: float = 0.0
    soon: int = 0  # looks that come sooner
    is_roomy: bool = False  # requests need not be spread to the millisecond
    requests: int = 0  # taken since the last 429
    sent_at: float = float("-inf")  # of the last request that taught something
    refused_at: float = float("-inf")  # of the last 429
    quiet_s: float = QUIET_S  # from it until the rate recovers

    @classmethod
    def kept(cls, rate: float, now: float) -> "RateEstimate":
        """Return what a former owner of the lane had learned; nobody knows whether it had just fallen."""
        return cls(rate, look_at=now + SOON_S, soon=SOON, sent_at=now, refused_at=now)

    def rate_at(self, now: float, *, limit: float) -> float | None:
        """Return the rate in force at a moment: the one learned, recovered with time where little is sent."""
        if self.rate is None:
            return None
        quiet = now - self.refused_at
        if quiet <= self.quiet_s or self.requests > HARDLY * self.rate * quiet:
            return self.rate
        doubled: float = 2.0 ** min((quiet - self.quiet_s) / DOUBLES_S, 20.0)
        return min(limit, self.rate * doubled)

    @property
    def held(self) -> float | None:
        """Return the rate that a successor should begin with: not that of a look under way."""
        return self.rate if self.base is None else self.base

    def taken(self, now: float, *, sent_at: float, limit: float) -> "RateEstimate":
        """Return what is known after Amazon took a request of `sent_at`; `limit` is the configured rate."""
        if self.rate is None or sent_at < self.sent_at:
            return self
        if self.base is None and (self.rate_at(now, limit=limit) or limit) >= limit:
            # Long ago, and little is known that still holds: the configured limit does again.
            return RateEstimate(refused_at=self.refused_at, quiet_s=self.quiet_s)
        # A look among requests that do not wait for their turn would ask for nothing more.
        is_pressed = sent_at - self.sent_at <= 1.6 / self.rate + 0.15
        buckets = self._buckets(limit, sent_at).taken(sent_at)
        rate, base = SAFE * buckets.reached(), None
        if self.base is not None and is_pressed:
            rate, base = max(rate, self.rate * QUICK), self.base
            if buckets.reached() >= limit and rate >= limit:
                return RateEstimate()  # all that may be asked for is taken: nothing is left to learn
        elif is_pressed and now >= self.look_at and (self.soon or self.requests >= LOOK_REQUESTS):
            buckets = buckets.questioned()
            rate, base = self.rate * QUICK, self.rate
        return replace(
            self,
            rate=min(rate, limit),
            buckets=buckets,
            base=base,
            is_roomy=buckets.is_roomy,
            requests=self.requests + 1,
            sent_at=sent_at,
        )

    def throttled(self, now: float, *, sent_at: float, limit: float, wait: float) -> "RateEstimate":
        """Return what is known after a 429 for a request of `sent_at`; nothing leaves for `wait`."""
        if sent_at < self.sent_at:
            return self  # it left before what was learned last, and would teach it again
        buckets = self._buckets(limit, sent_at)
        # In a look that question was asked before.
        buckets = (buckets if self.base is not None else buckets.questioned()).refused(sent_at)
        rate, soon = SAFE * buckets.reached(), self.soon
        if self.base is not None:
            has_risen = rate > 1.1 * self.base
            soon = 0 if has_risen else max(0, soon - 1)
        elif self.rate is not None and rate < FELL * self.rate:
            soon = SOON
        rest = SOON_S if soon else LOOK_S
        if self.base is not None and buckets.reached(0.1) > SPLIT * rate:
            # A higher limit, or a larger bucket than was thought: it is empty now, so the next look tells.
            soon, rest = max(1, soon), SPLIT_S
        since, quiet_s = now - self.refused_at, self.quiet_s
        if since > quiet_s:
            # Perhaps because the rate had recovered; a 429 long after that says nothing of it.
            quiet_s = min(MOST_QUIET_S, 2 * quiet_s) if since < WINDOWS * quiet_s else QUIET_S
        return RateEstimate(
            rate=rate,
            buckets=buckets,
            look_at=now + max(rest, WINDOWS * wait),
            soon=soon,
            is_roomy=buckets.is_roomy,
            sent_at=sent_at,
            refused_at=now,
            quiet_s=quiet_s,
        )

    def _buckets(self, limit: float, at: float) -> CapacityHypotheses:
        """Return the beliefs, made anew where there are none yet or the configured limit was changed."""
        if self.buckets is not None and self.buckets.limit == limit:
            return self.buckets
        if self.held is None:
            return CapacityHypotheses.below(limit, at)
        return CapacityHypotheses.around(self.held / SAFE, limit, at)
