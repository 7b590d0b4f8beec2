"""Learning a limit nobody was told of: the rate falls with each 429 and grows with what is taken (AIMD).

A 429 is the only way to find a limit, so each costs something. Two questions have to be asked:

- Where exactly is it? The rate creeps up with each request that is taken and falls a little with each 429.
- Has it risen? Now and then there is a *look*: the rate grows quickly until a 429. Looks are paid for by
  requests that were taken, so that they stay below one in a hundred; after a fall two are granted.

What Amazon lets through beyond its limit at once (its bucket) is learned too (`room`): a look that was let
through no more than that has found nothing new. Requests that follow a 429 closely tell how far a limit fell.
The numbers were chosen by simulation (tests/domain/test_lanes.py). Pure; times are seconds on one
monotonic clock.
"""

from dataclasses import dataclass, replace
from typing import Final

FALL: Final = 0.08  # after a 429 that came as the rate crept up
CREEP: Final = 300  # requests in which the rate grows by as much
NEWLY: Final = 60  # requests after a 429 in which it creeps twice as fast
STRIDE: Final = 1.025  # a request, up to just below a rate that was refused
QUICK: Final = 1.06  # a request, in a look
BELOW: Final = 0.9  # of a refused rate
LOOK_S: Final = 10.0  # the first look after the last lesson
LOOK_MORE: Final = 1.5  # times longer to the next one when it found nothing
LONGEST_LOOK_S: Final = 18.0
EARNED: Final = 0.009  # of a look, by each request that was taken
MOST_EARNED: Final = 3.0
GRANTED: Final = 1.5  # where the limit fell, it may soon rise again
CALM: Final = 40  # requests since the last 429: the limit is near and nothing has happened
FEW: Final = 12  # so few: it is far away
LOW: Final = 1.1  # times that what was seen to flow may be too little: some buckets are small
ROOM: Final = 5.5  # requests at once, assumed at first
SLOWEST: Final = 0.05  # requests a second


@dataclass(frozen=True, slots=True)
class Look:
    """A look under way: when it began, from which rate, and how many requests it has seen taken."""

    began: float
    base: float
    taken: int = 0

    def excess(self, now: float) -> float:
        """Return how many requests were taken beyond what the rate before it allows."""
        return self.taken - self.base * (now - self.began)


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of a lane's true limit. `rate` is None until a 429 came: the configured one holds."""

    rate: float | None = None
    near: float = 0.0  # up to here the rate grows in strides
    creep: float = FALL / CREEP  # growth with each request, beyond that
    look: Look | None = None
    look_at: float = 0.0
    look_s: float = LOOK_S
    earned: float = 2.0
    room: float = ROOM
    believed: tuple[float, float] | None = None  # rate before and excess of a look that found more
    ended_look: bool = False  # the last 429 did
    throttled_at: float = float("-inf")
    waited: float = 0.0  # the window after it
    taken_since: int = 0
    taken_at: float = 0.0

    @classmethod
    def kept(cls, rate: float, now: float) -> "Learned":
        """Return what a former owner of the lane had learned: its rate is held at first."""
        return cls(rate, look_at=now + LOOK_S, throttled_at=now, taken_at=now)

    @property
    def held(self) -> float | None:
        """Return the rate that a successor should begin with: not that of a look under way."""
        return self.rate if self.look is None else self.look.base

    def taken(self, now: float, limit: float) -> "Learned":
        """Return what is known after Amazon took a request; `limit` is the configured rate."""
        if self.rate is None:
            return self
        # Requests that were not waiting for their turn teach nothing about how many are taken.
        is_pressed = now - self.taken_at <= 1.6 / self.rate + 0.15
        noted = replace(
            self,
            taken_at=now,
            taken_since=self.taken_since + 1,
            earned=min(MOST_EARNED, self.earned + EARNED),
        )
        if not is_pressed:
            return noted if self.look is None else replace(noted, rate=self.look.base, look=None)
        if self.look is not None:
            look = replace(self.look, taken=self.look.taken + 1)
            noted, rate = replace(noted, look=look), self.rate * QUICK
            if look.excess(now) <= self.room + 2:
                rate = min(rate, limit * 0.999)  # perhaps it is only Amazon's bucket that lets it through
        elif self.rate < self.near:
            rate = min(self.near, self.rate * STRIDE)
        elif now >= self.look_at and noted.earned >= 1:
            return replace(noted, rate=min(limit * 0.999, self.rate * 1.03), look=Look(now, self.rate))
        else:
            rate = self.rate * (1 + self.creep * (2 if noted.taken_since < NEWLY else 1))
        if rate >= limit:
            # All that may be asked for is taken: nothing is left to learn.
            return Learned(earned=noted.earned, room=self.room)
        return replace(noted, rate=rate)

    def throttled(self, now: float, *, sent_at: float, limit: float, wait: float) -> "Learned":
        """Return what is known after a 429 for a request of `sent_at`; nothing leaves for `wait`."""
        if sent_at < self.throttled_at:
            return self  # it left before the last lesson was learned and teaches nothing new
        rate = limit if self.rate is None else min(self.rate, limit)
        # A window costs requests too: with a long one the rate creeps so slowly that it is rare.
        pause = max(LOOK_S, 10 * wait)
        noted = replace(
            self,
            near=0.0,
            creep=FALL / max(CREEP, 10 * wait * rate),
            look=None,
            look_at=now + pause,
            look_s=LOOK_S,
            ended_look=self.look is not None,
            throttled_at=now,
            waited=wait,
            taken_since=0,
            taken_at=now + wait,
        )
        if self.rate is None:
            return replace(noted, rate=max(SLOWEST, rate / 2), near=rate * BELOW)
        if self.look is not None:
            return self._looked(noted, self.look, rate, sent_at)
        if self.taken_since >= CALM:
            return replace(noted, rate=max(SLOWEST, rate * (1 - FALL)), believed=None)
        if self.ended_look and self.believed is None and self.taken_since < FEW:
            return replace(noted, rate=max(SLOWEST, rate * (1 - FALL)))
        return self._fallen(noted, rate, sent_at)

    def _looked(self, noted: "Learned", look: Look, rate: float, sent_at: float) -> "Learned":
        """Return what a look has found, refused at `rate`."""
        noted = replace(noted, earned=self.earned - 1)
        excess = look.excess(sent_at)
        if excess > self.room + 0.5:
            # More than a bucket holds: the limit has risen to somewhere below the refused rate.
            found = max(look.base, rate * 0.7)
            return replace(noted, rate=found, near=max(found, rate * 0.92), believed=(look.base, excess))
        hold = look.base
        if excess < 1.5:
            # Refused at once: the limit is where it was, or not far above.
            most = 1.03 if rate > 1.25 * look.base else 1.01
            hold = max(look.base * 0.97, min(rate * BELOW, look.base * most))
        look_s = min(LONGEST_LOOK_S, self.look_s * LOOK_MORE)
        return replace(
            noted,
            rate=max(SLOWEST, hold),
            look_at=noted.look_at - LOOK_S + look_s,
            look_s=look_s,
            believed=None,
            room=max(excess + 0.5, self.room * 0.93),
        )

    def _fallen(self, noted: "Learned", rate: float, sent_at: float) -> "Learned":
        """Return what a 429 soon after another says: as many as were taken between them are let through."""
        whole = max(0.02, sent_at - self.throttled_at)
        active = max(0.01, whole - self.waited)
        near = 0.0
        if self.taken_since >= FEW:
            # The bucket was empty at both ends, but for what the window let flow into it.
            flowed = min(self.room, 0.5 + self.waited * rate)
            seen = max(self.taken_since / whole, (self.taken_since - flowed) / active)
            found = min(rate * 0.92, max(rate / 2, seen * 0.95))
            near = min(rate * BELOW, found * LOW)
        else:
            # So few tell little: between what came through at least and at most.
            low, high = self.taken_since / whole, max(0.3, self.taken_since - 0.5) / active
            found = 0.9 * min(0.8 * rate, max(0.3 * rate, (max(low, 0.3 * rate) * high) ** 0.5))
            near = max(SLOWEST, rate * BELOW)
            noted = replace(noted, earned=max(self.earned, GRANTED))
        if self.believed is not None and found < self.believed[0] * 1.2:
            # The last look took a full bucket for a higher limit: it is larger than was thought.
            noted = replace(noted, room=self.believed[1] + 1, believed=None)
        return replace(noted, rate=max(SLOWEST, found), near=near)
