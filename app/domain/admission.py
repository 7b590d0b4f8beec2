"""Whether a request may come in now, decided before its body is read.

A service that lets in more than it can answer in time answers everybody late, and what it stores has been
given up by its senders: the work is done and the good is gone. So as much is let in as is answered within
a patience, learned from the answers themselves (additive increase, multiplicative decrease, as TCP and the
lanes do); what is more is told at once when to come back. Beside that stand bounds for memory and for the
commit queue, and the deadline of a lane whose queue is longer than Amazon's age limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

import msgspec

from app.domain.outcomes.reasons import JourneyCode

MIB: Final = 1024 * 1024

# What a post costs beside its bytes, told in bytes: headers, key, its share of a commit and of the answer.
# Measured (docs/performance.md): a post of one event takes about five times the CPU of one more event.
POST_COST: Final = 2_048
# Of a body whose length nobody told; the rest is charged as it comes.
UNTOLD_COST: Final = 64 * 1024
# The memory that is charged for a body before any of it came. What comes beyond is charged as it comes: a
# declared length alone must not take the room of others.
RESERVE: Final = 32 * 1024
# The part of the room for bodies, and of the connections, that the requests of one owner may use at once.
SHARES: Final = 3

_INITIAL, _LEAST, _MOST, _STEP = 4.0 * MIB, 0.5 * MIB, 64.0 * MIB, 0.125 * MIB
_CUT = 0.7
# So many always fit in, however large they are: a few senders of full batches crowd nobody.
_FEW = 8


class ShedReason(StrEnum):
    """Why a request is turned away; a label of the metrics."""

    CROWDED = "crowded"  # more is under way than is answered in time
    BODIES = "bodies"  # bodies hold as many bytes as they may, over all requests
    COMMITS = "commits"  # the commit queue is full, or its oldest post waits too long
    MEMORY = "memory"  # the process holds more memory than it should
    SHARE = "share"  # the bodies of one owner use its share of memory or connections
    LANE = "lane"  # a lane's queue is longer than the events may grow old


@dataclass(frozen=True, slots=True)
class ShedSpec:
    """How a cause is told: the journey's code, and the span of `Retry-After` in seconds."""

    code: JourneyCode
    soonest_s: int
    latest_s: int


# Spans, so that callers do not all come back in one instant. Codes: product.md, "The journey's vocabulary".
SHED_SPECS: Final[Mapping[ShedReason, ShedSpec]] = {
    ShedReason.CROWDED: ShedSpec(JourneyCode.SERVICE_UNAVAILABLE, 1, 5),
    ShedReason.BODIES: ShedSpec(JourneyCode.SERVICE_UNAVAILABLE, 1, 5),
    ShedReason.COMMITS: ShedSpec(JourneyCode.SERVICE_UNAVAILABLE, 2, 10),
    ShedReason.MEMORY: ShedSpec(JourneyCode.SERVICE_UNAVAILABLE, 2, 10),
    ShedReason.SHARE: ShedSpec(JourneyCode.RATE_LIMIT, 1, 5),
    ShedReason.LANE: ShedSpec(JourneyCode.RATE_LIMIT, 60, 300),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is never exceeded, and the patience that the allowance is learned for."""

    target_latency_s: float = 3.0
    body_bytes: int = 24 * MIB
    resident_bytes: int = 192 * MIB
    waiting_events: int = 40_000
    oldest_s: float = 10.0
    connections: int = 900


class CurrentLoad(msgspec.Struct, frozen=True, gc=False):
    """What is under way: let in and not answered yet, and what the gauges of the process say.

    `complete` and `cost` are of the posts whose bodies are here, `arriving_cost` of all others.
    """

    posts: int
    complete: int
    cost: int
    arriving_cost: int
    body_bytes: int
    waiting_events: int
    oldest_s: float
    resident_bytes: int


class AdaptiveLimit(msgspec.Struct, frozen=True, gc=False):
    """How much may be under way (cost, in bytes), learned from how long answers took."""

    cost: float = _INITIAL
    cut_at: float = float("-inf")

    def answered(
        self, *, cost: int, began: float, took_s: float, under_way: float, now: float, target_latency_s: float
    ) -> "AdaptiveLimit":
        """Learn from one answer: a late one cuts, a timely one adds where the allowance was in use.

        One cut for each round: those that came in before a cut say nothing of what it brought.
        """
        if took_s > target_latency_s:
            return AdaptiveLimit(max(_LEAST, self.cost * _CUT), now) if began > self.cut_at else self
        if under_way < self.cost / 2:
            return self  # nobody was kept out: this answer says nothing of a larger allowance
        return AdaptiveLimit(min(_MOST, self.cost + _STEP * cost / self.cost), self.cut_at)


def cost_of(told: int | None) -> int:
    """Return what a post will cost by the length that was told, None where it was not."""
    return POST_COST + (UNTOLD_COST if told is None else told)


def reserve_of(told: int | None) -> int:
    """Return the bytes that a body is charged with before any of it came."""
    return RESERVE if told is None else min(told, RESERVE)


def counted_cost(cost: int, arriving_cost: int, allowance: AdaptiveLimit) -> float:
    """Return what counts against the allowance.

    Bodies that still arrive count for half of it at most: senders that stall must not keep all others out.
    """
    return cost + min(arriving_cost, allowance.cost / 2)


def over_share(held: int, requests: int, arriving: int, bounds: Limits) -> bool:
    """Tell whether one owner uses more than its share, by bytes or by bodies that still arrive.

    The only request of an owner is always within it: a share may be smaller than one body.
    """
    if requests <= 1:
        return False
    return held > bounds.body_bytes // SHARES or arriving > bounds.connections // SHARES


def shed_reason(
    pressure: CurrentLoad, allowance: AdaptiveLimit, told: int | None, bounds: Limits
) -> ShedReason | None:
    """Return why a post must not come in now, or None.

    A lone post always comes in: whatever the gauges say, only by trying are they found to be out of date,
    and memory that the process does not give back must not shut the door for ever.
    """
    if pressure.posts == 0:
        return None
    if pressure.body_bytes + reserve_of(told) > bounds.body_bytes:
        return ShedReason.BODIES
    if pressure.resident_bytes > bounds.resident_bytes:
        return ShedReason.MEMORY
    if pressure.waiting_events > bounds.waiting_events or pressure.oldest_s > bounds.oldest_s:
        return ShedReason.COMMITS
    under_way = counted_cost(pressure.cost, pressure.arriving_cost, allowance)
    if pressure.complete >= _FEW and under_way + cost_of(told) > allowance.cost:
        return ShedReason.CROWDED
    return None


def backlog_too_old(waited: timedelta, max_age: timedelta) -> bool:
    """Tell whether what comes now might grow too old in a queue whose front has waited for so long.

    It will wait about as long, and some of it is older than a moment when it comes: hence three quarters.
    """
    return waited > max_age * 0.75


def retry_after(cause: ShedReason, jitter: float) -> int:
    """Return whole seconds for `Retry-After`, spread over the cause's span; `jitter` is in [0, 1)."""
    span = SHED_SPECS[cause]
    return span.soonest_s + int(jitter * (span.latest_s - span.soonest_s + 1))
