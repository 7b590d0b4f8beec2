"""Admission control: decide whether to admit a request before its body is read. Pure.

A service that admits more requests than it can answer in time answers all of them late, after their senders'
timeouts. An adaptive concurrency limit keeps response times within the target latency (additive increase,
multiplicative decrease, as in TCP); requests beyond it are shed immediately with a Retry-After. Fixed limits
bound memory and the commit queue, and a lane whose queue is longer than Amazon's age limit sheds its events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

import msgspec

from app.domain.outcomes.reasons import JourneyCode

MIB: Final = 1024 * 1024

# The cost of a request besides its body, in bytes: headers, key, its share of a commit and of the response.
# Measured (docs/performance.md): a request of one event takes about five times the CPU of one more event.
POST_COST: Final = 2_048
# Charged for a body without Content-Length; the rest is charged on arrival.
UNDECLARED_COST: Final = 64 * 1024
# The memory charged for a body before it arrives. The rest is charged on arrival: a declared length alone
# must not use up the memory limit.
RESERVE: Final = 32 * 1024
# The requests of one owner may use this fraction (1/n) of the body memory and of the connections.
SHARES: Final = 3
# All keys of one organisation may use this share while another organisation sends too.
ORGANISATION_PART: Final = 2 / 3
# An organisation counts as sending for this long after its last request.
ORGANISATION_SECONDS: Final = 600.0

# The memory of a post in progress: parsed, evaluated and encoded, in bytes for each byte of its cost.
MEMORY_PER_COST: Final = 16
# A post up to this cost is small.
SMALL_COST: Final = 8 * 1024

_INITIAL, _LEAST, _MOST, _STEP = 4.0 * MIB, 0.5 * MIB, 64.0 * MIB, 0.125 * MIB
_CUT = 0.7
# This many requests are always admitted, regardless of size: a few large requests cause no overload.
_FEW = 8


class ShedReason(StrEnum):
    """Why a request is shed; a label of the metrics."""

    CROWDED = "crowded"  # more is in flight than can be answered in time
    BODIES = "bodies"  # the bodies of all requests reached their limit
    COMMITS = "commits"  # the commit queue is full, or its oldest request waits too long
    MEMORY = "memory"  # the process holds more memory than it should
    SHARE = "share"  # one owner or organisation uses its share of memory, connections or work in flight
    LANE = "lane"  # a lane's queue takes longer than the age limit of events


@dataclass(frozen=True, slots=True)
class ShedSpec:
    """The response to a shed request: the journey's code, and the range of `Retry-After` in seconds."""

    code: JourneyCode
    soonest_s: int
    latest_s: int


# Ranges, so that callers do not all retry at the same time. Codes: product.md, "The journey's vocabulary".
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
    """The requests in flight and the gauges of the process.

    `complete` and `cost` count requests whose bodies have arrived, `small_cost` the small ones of them,
    `arriving_cost` all others. `parsed_bytes` is the estimated memory of large parsed bodies, besides their
    cost.
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
    """The adaptive concurrency limit: the cost in bytes that may be in flight, learned from response
    times.
    """

    cost: float = _INITIAL
    cut_at: float = float("-inf")

    def answered(
        self, *, cost: int, began: float, took_s: float, under_way: float, now: float, target_latency_s: float
    ) -> "AdaptiveLimit":
        """Learn from one response: a late one lowers the limit, a timely one raises it if it was in use.

        One decrease per round: requests admitted before a decrease do not reflect it.
        """
        if took_s > target_latency_s:
            return AdaptiveLimit(max(_LEAST, self.cost * _CUT), now) if began > self.cut_at else self
        if under_way < self.cost / 2:
            return self  # the limit was not in use: this response does not justify a higher one
        return AdaptiveLimit(min(_MOST, self.cost + _STEP * cost / self.cost), self.cut_at)


def cost_of(declared_length: int | None) -> int:
    """Return the cost of a request by its Content-Length, None without one."""
    return POST_COST + (UNDECLARED_COST if declared_length is None else declared_length)


def reserve_of(declared_length: int | None) -> int:
    """Return the bytes that are charged for a body before it arrives."""
    return RESERVE if declared_length is None else min(declared_length, RESERVE)


def counted_cost(cost: int, arriving_cost: int, limit: AdaptiveLimit) -> float:
    """Return the cost that counts against the limit.

    Arriving bodies count for half of it at most: stalling senders must not block all others.
    """
    return cost + min(arriving_cost, limit.cost / 2)


def over_share(body_bytes: int, requests: int, arriving: int, limits: Limits) -> bool:
    """Return whether one owner uses more than its share, by bytes or by arriving bodies.

    An owner's only request is always within its share, because a share may be smaller than one body.
    """
    if requests <= 1:
        return False
    return body_bytes > limits.body_bytes // SHARES or arriving > limits.connections // SHARES


def over_organisation_share(
    body_bytes: int, requests: int, arriving: int, cost: int, limits: Limits, limit: AdaptiveLimit
) -> bool:
    """Return whether the requests of one organisation leave too little for the others.

    `cost` is the cost of all its requests in flight. A few requests are always within the share, however
    large.
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

    Always admits when idle, so that a stale gauge cannot block all traffic.
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

    The allocator keeps memory after a flood, and new posts use it again. So resident memory alone must not
    shed posts: those in progress may use an eighth of the limit, small posts as much again.
    """
    return cost * MEMORY_PER_COST + parsed_bytes > limits.resident_bytes / 8


def backlog_too_old(waited: timedelta, max_age: timedelta) -> bool:
    """Return whether new events could expire in a queue whose oldest event has waited this long.

    New events wait about as long, and some are old on receipt, so the threshold is three quarters of the
    limit.
    """
    return waited > max_age * 0.75


def retry_after(cause: ShedReason, jitter: float) -> int:
    """Return whole seconds for `Retry-After`, spread over the range of the cause; `jitter` is in [0, 1)."""
    span = SHED_SPECS[cause]
    return span.soonest_s + int(jitter * (span.latest_s - span.soonest_s + 1))
