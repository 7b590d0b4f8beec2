"""Admission control: decide whether to admit a request before its body is read.

A service that admits too many requests answers all of them late, after their senders' timeouts. An adaptive
concurrency limit keeps response times within the target latency (additive increase, multiplicative decrease,
as in TCP). Requests beyond the limit are shed: refused immediately with a Retry-After. Fixed limits bound
memory and the commit queue. Posts are also shed if their events would be too old for Amazon when sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

import msgspec

from app.domain.outcomes.reasons import JourneyCode

MIB: Final = 1024 * 1024

# The cost of a request is its CPU time, expressed in bytes of body. POST_COST is the part that does not
# depend on the body: headers, key, commit and response. Measured (docs/performance.md): a request of one
# event uses about five times the CPU of each further event.
POST_COST: Final = 2_048
# The cost of a body without Content-Length before it arrives. Bytes above it are charged on arrival.
UNDECLARED_COST: Final = 64 * 1024
# The most memory that is charged for a body before it arrives. Bytes above it are charged on arrival, so that
# declared lengths alone cannot use up the memory limit.
RESERVE: Final = 32 * 1024
# The requests of an API key may use 1/SHARES of the body memory and of the connections.
SHARES: Final = 3
# All keys of an organisation together may use this part of each limit while another organisation sends.
ORGANISATION_PART: Final = 2 / 3
# An organisation counts as sending for this long after its last request.
ORGANISATION_SECONDS: Final = 600.0

# The memory of a post in progress (parsed, evaluated and encoded), in bytes for each byte of its cost.
MEMORY_PER_COST: Final = 16
# A post up to this cost is small.
SMALL_COST: Final = 8 * 1024

# The adaptive limit: its first, lowest and highest value, and its growth after responses whose costs add up
# to the limit.
_INITIAL, _LEAST, _MOST, _STEP = 4.0 * MIB, 0.5 * MIB, 64.0 * MIB, 0.125 * MIB
_CUT = 0.7  # factor of the adaptive limit after a late response
_FEW = 8  # this many requests never exceed the adaptive limit, however large they are


class ShedReason(StrEnum):
    """Why a request is shed; a label of the metrics."""

    CROWDED = "crowded"  # the requests in flight exceed the adaptive limit
    BODIES = "bodies"  # the bodies of all requests reached their limit
    COMMITS = "commits"  # the commit queue is full, or its oldest request waits too long
    MEMORY = "memory"  # the process exceeds its memory limit
    SHARE = "share"  # an API key or an organisation exceeds its part of a limit
    LANE = "lane"  # an event could exceed the age limit in the queue of its advertiser


@dataclass(frozen=True, slots=True)
class ShedSpec:
    """The response to a shed request: the code for the journey, and the range of `Retry-After` in seconds.

    A random time in the range keeps callers from retrying at the same time.
    """

    code: JourneyCode
    soonest_s: int
    latest_s: int


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
    """The fixed limits, and the target latency of the adaptive limit."""

    target_latency_s: float = 3.0
    body_bytes: int = 24 * MIB
    resident_bytes: int = 192 * MIB
    waiting_events: int = 40_000
    oldest_s: float = 10.0
    connections: int = 900


class CurrentLoad(msgspec.Struct, frozen=True, gc=False):
    """The posts in flight and other gauges of the process.

    `complete` and `cost` are the number and the cost of the posts whose bodies have arrived. `small_cost` is
    the cost of the small posts among them. `arriving_cost` is the cost of the posts whose bodies still
    arrive. `parsed_bytes` is the estimated memory of large parsed bodies in addition to their cost.
    """

    posts: int
    complete: int
    cost: int
    small_cost: int
    arriving_cost: int
    body_bytes: int
    waiting_events: int
    oldest_s: float
    resident_bytes: int
    parsed_bytes: int


class AdaptiveLimit(msgspec.Struct, frozen=True, gc=False):
    """The adaptive concurrency limit: the cost that may be in flight, adapted to response times."""

    cost: float = _INITIAL
    cut_at: float = float("-inf")  # the time of the last decrease

    def answered(
        self, *, cost: int, began: float, took_s: float, under_way: float, now: float, target_latency_s: float
    ) -> "AdaptiveLimit":
        """Return the limit after a response that was sent `took_s` seconds after the body arrived.

        A late response lowers the limit, unless its request began (`began`) before the last decrease. A
        timely response raises the limit if at least half of it is in use (`under_way`).
        """
        if took_s > target_latency_s:
            return AdaptiveLimit(max(_LEAST, self.cost * _CUT), now) if began > self.cut_at else self
        if under_way < self.cost / 2:
            return self
        return AdaptiveLimit(min(_MOST, self.cost + _STEP * cost / self.cost), self.cut_at)


def cost_of(declared_length: int | None) -> int:
    """Return the cost of a request with this Content-Length; None if it has no such header."""
    return POST_COST + (UNDECLARED_COST if declared_length is None else declared_length)


def reserve_of(declared_length: int | None) -> int:
    """Return the bytes of memory that are charged for a body before it arrives."""
    return RESERVE if declared_length is None else min(declared_length, RESERVE)


def counted_cost(cost: int, arriving_cost: int, limit: AdaptiveLimit) -> float:
    """Return the cost in flight that counts against the limit.

    Arriving bodies count for at most half of the limit, so that stalling senders do not block all others.
    """
    return cost + min(arriving_cost, limit.cost / 2)


def over_share(body_bytes: int, requests: int, arriving: int, limits: Limits) -> bool:
    """Return whether an API key exceeds its share, by bytes of bodies or by the number of arriving bodies.

    The only request of a key is always within the share, because a share may be smaller than one body.
    """
    if requests <= 1:
        return False
    return body_bytes > limits.body_bytes // SHARES or arriving > limits.connections // SHARES


def over_organisation_share(
    body_bytes: int, requests: int, arriving: int, cost: int, limits: Limits, limit: AdaptiveLimit
) -> bool:
    """Return whether the requests of an organisation exceed its share.

    `cost` is the cost of all requests of the organisation in flight. The share of the cost does not apply to
    an organisation with a few requests.
    """
    if requests <= 1:
        return False
    return (
        body_bytes > limits.body_bytes * ORGANISATION_PART
        or arriving > limits.connections * ORGANISATION_PART
        or (requests > _FEW and cost > limit.cost * ORGANISATION_PART)
    )


def shed_reason(
    load: CurrentLoad, limit: AdaptiveLimit, declared_length: int | None, limits: Limits
) -> ShedReason | None:
    """Return the shed reason, or None to admit.

    A post is admitted if no other post is in flight, so that a wrong gauge cannot block all posts.
    """
    if load.posts == 0:
        return None
    if load.body_bytes + reserve_of(declared_length) > limits.body_bytes:
        return ShedReason.BODIES
    if load.resident_bytes > limits.resident_bytes:
        small = cost_of(declared_length) <= SMALL_COST
        cost, parsed_bytes = (load.small_cost, 0) if small else (load.cost, load.parsed_bytes)
        if exceeds_retained_memory(cost, parsed_bytes, limits):
            return ShedReason.MEMORY
    if load.waiting_events > limits.waiting_events or load.oldest_s > limits.oldest_s:
        return ShedReason.COMMITS
    under_way = counted_cost(load.cost, load.arriving_cost, limit)
    if load.complete >= _FEW and under_way + cost_of(declared_length) > limit.cost:
        return ShedReason.CROWDED
    return None


def exceeds_retained_memory(cost: int, parsed_bytes: int, limits: Limits) -> bool:
    """Return whether posts in progress need more memory than a process above its limit retains.

    The allocator keeps memory after a flood, and new posts use it again. So high resident memory alone is no
    reason to shed posts. All posts in progress may use an eighth of the limit. Small posts may use another
    eighth.
    """
    return cost * MEMORY_PER_COST + parsed_bytes > limits.resident_bytes / 8


def backlog_too_old(waited: timedelta, max_age: timedelta) -> bool:
    """Return whether new events could expire in a queue whose oldest event has waited for `waited`.

    The threshold is three quarters of the age limit: new events wait about as long as the oldest event, and
    some are already old on receipt.
    """
    return waited > max_age * 0.75


def retry_after(cause: ShedReason, jitter: float) -> int:
    """Return whole seconds for `Retry-After`, in the range of the shed reason. `jitter` is in [0, 1)."""
    span = SHED_SPECS[cause]
    return span.soonest_s + int(jitter * (span.latest_s - span.soonest_s + 1))
