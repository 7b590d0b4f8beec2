"""Learning a limit nobody was told of: the rate falls with each 429 and grows with what is taken (AIMD).

A 429 is the only way to find a limit, so each costs something, and looking for more costs one. Near a
limit that is known the rate is held below it, and only now and then is it tried whether more is taken by
now. What was found to be taken beyond the old limit shows that the limit has moved: then the rate grows
quickly. Pure; times are seconds on one monotonic clock.
"""

from dataclasses import dataclass, replace
from typing import Final

BELOW: Final = 0.95  # of the rate that met a 429: held there
FALLEN: Final = 0.55  # a rate that was held is refused now, or two 429s soon after each other: far above
OVERSHOT: Final = 0.75  # met while growing into the unknown
RECENT_S: Final = 3.0
GROWTH: Final = 1.2  # per second, up to just below where the last 429 was met
PROBING: Final = 1.10  # per second, just above it
LEAP: Final = 1.7  # per second, once what is taken shows that the limit has moved
MOVED: Final = 1.15  # above the last refused rate by this much without a 429: the limit has moved
FARTHER: Final = 1.5  # beyond this it is another limit, and looking begins anew
BELIEVED: Final = 0.35
SAGGED: Final = 0.985  # a probe at the ceiling was refused: it lies a little lower
FIRST_LOOK_S: Final = 6.0  # after a fall it is first tried soon whether more is taken, then less often
LONGEST_LOOK_S: Final = 12.0
SLOWEST: Final = 0.05  # requests a second


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of a lane's true limit. `rate` is None until a 429 came: the configured one holds.

    `ceiling` is the rate that the last 429 met. Just below it the rate is held until
    `look_at`.
    """

    rate: float | None = None
    ceiling: float | None = None
    throttled_at: float = float("-inf")
    grown_at: float = 0.0
    look_at: float = 0.0
    look_s: float = FIRST_LOOK_S

    @classmethod
    def kept(cls, rate: float, now: float) -> "Learned":
        """Return what a former owner of the lane had learned: its rate is held at first."""
        return cls(rate, rate / BELOW, grown_at=now, look_at=now + FIRST_LOOK_S)

    def taken(self, now: float, limit: float) -> "Learned":
        """Return what is known after Amazon took a request; `limit` is the configured rate."""
        if self.rate is None or self.ceiling is None:
            return self
        held = self.ceiling * BELOW * 0.999 <= self.rate < self.ceiling
        if held and now < self.look_at:
            return replace(self, grown_at=now)
        # Time that passed without a request taught nothing: at most one request's worth counts.
        passed = min(now - self.grown_at, 1.5 / self.rate, 1.0)
        if held:
            rate = self.ceiling * 1.01
        elif self.rate < self.ceiling:
            rate = min(self.rate * GROWTH**passed, self.ceiling * BELOW)
        elif self.rate < self.ceiling * MOVED:
            rate = self.rate * PROBING**passed
        else:
            rate = self.rate * LEAP**passed
        if rate >= limit:
            return Learned()  # all that may be asked for is taken: nothing is left to learn
        return replace(self, rate=rate, grown_at=now)

    def throttled(self, now: float, *, sent_at: float, limit: float) -> "Learned":
        """Return what is known after a 429 for a request that left at `sent_at`."""
        if sent_at < self.throttled_at:
            return self  # it left before the last lesson was learned and teaches nothing new
        rate = limit if self.rate is None else min(self.rate, limit)
        ceiling, look_s = rate, FIRST_LOOK_S
        if self.ceiling is not None and self.ceiling <= rate < self.ceiling * FARTHER:
            look_s = min(LONGEST_LOOK_S, self.look_s * 2)
        if now - self.throttled_at < RECENT_S + 2 / rate:
            rate *= FALLEN
        elif self.ceiling is None or rate >= self.ceiling * FARTHER:
            rate *= OVERSHOT
        elif rate >= self.ceiling * MOVED:
            # A little more than before, or a burst that was let through: believed in part.
            ceiling = self.ceiling + (rate - self.ceiling) * BELIEVED
            rate = ceiling * BELOW
        elif rate < self.ceiling:
            rate *= FALLEN
        else:
            ceiling = self.ceiling * SAGGED
            rate = ceiling * BELOW
        return Learned(
            rate=max(SLOWEST, rate),
            ceiling=max(SLOWEST / BELOW, ceiling),
            throttled_at=now,
            grown_at=now,
            look_at=now + look_s,
            look_s=look_s,
        )
