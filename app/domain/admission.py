"""Admission control: decide whether to admit a request before its body is read.

A service that admits too many requests answers all of them late, after their senders' timeouts. An adaptive
concurrency limit keeps response times within the target latency: additive increase, multiplicative decrease,
as in TCP. Requests beyond the limit are shed immediately with a Retry-After. Fixed limits bound memory and
the commit queue. Events are also shed when their lane's queue could delay them beyond Amazon's age limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

import msgspec

from app.domain.outcomes.reasons import JourneyCode

MIB: Final = 1024 * 1024

# The cost of a request is counted in bytes of body. This part covers headers, key, commit and response.
# Measured (docs/performance.md): the first event of a request takes five times the CPU of each further one.
POST_COST: Final = 2_048
# The assumed length of a body without Content-Length. A longer body is charged as it arrives.
UNDECLARED_COST: Final = 64 * 1024
# The most memory that is charged for a body before it arrives. The rest is charged as the body arrives,
# because a declared length alone must not use up the memory limit.
RESERVE: Final = 32 * 1024
# The requests of one API key may use 1/SHARES of the body memory, and 1/SHARES of the connections.
SHARES: Final = 3
# All keys of one organisation may use this part of each limit while another organisation sends too.
ORGANISATION_PART: Final = 2 / 3
# An organisation counts as sending for this long after its last request.
ORGANISATION_SECONDS: Final = 600.0

# The memory of a post in progress: parsed, evaluated and encoded, in bytes for each byte of its cost.
MEMORY_PER_COST: Final = 16
# A post up to this cost is small.
SMALL_COST: Final = 8 * 1024

_INITIAL, _LEAST, _MOST, _STEP = 4.0 * MIB, 0.5 * MIB, 64.0 * MIB, 0.125 * MIB
_CUT = 0.7
# Limits of cost apply only beyond this many requests: a few requests cause no overload, however large.
_FEW = 8


class ShedReason(StrEnum):
    """Why a request is shed; a label of the metrics."""

    CROWDED = "crowded"  # more is in flight than can be answered in time
    BODIES = "bodies"  # the bodies of all requests reached their limit
    COMMITS = "commits"  # the commit queue is full, or its oldest request waits too long
    MEMORY = "memory"  # the process holds more memory than it should
    SHARE = "share"  # a key or organisation exceeds its share of memory, connections or work in flight
    LANE = "lane"  # events could exceed Amazon's age limit while they wait in the lane's queue


@dataclass(frozen=True, slots=True)
class ShedSpec:
    """The response to a shed request: the code for the journey engine, and the range of `Retry-After`."""

    code: JourneyCode
    soonest_s: int
    latest_s: int


# `Retry-After` is drawn from a range, so that callers do not all retry at the same time.
# Source of the codes: product.md, "The journey's vocabulary".
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
    """The posts of events in flight, and the gauges of the process.

    `complete` and `cost` count posts whose bodies have arrived; `small_cost` counts the small ones among
    them. `arriving_cost` counts all other posts. `parsed_bytes` is the estimated memory of large parsed
    bodies that is not part of their cost.
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
    """The adaptive concurrency limit: `cost` may be in flight, adapted to response times."""

    cost: float = _INITIAL
    cut_at: float = float("-inf")

    def answered(
        self, *, cost: int, began: float, took_s: float, under_way: float, now: float, target_latency_s: float
    ) -> "AdaptiveLimit":
        """Return the limit after one response: lower if it was late, higher if it was in time.

        `under_way` is the cost that was in flight. A request that began before the last decrease cannot lower
        the limit again, because its delay does not show the effect of that decrease.
        """
        if took_s > target_latency_s:
            return AdaptiveLimit(max(_LEAST, self.cost * _CUT), now) if began > self.cut_at else self
        if under_way < self.cost / 2:
            return self  # the limit was not in use: this response does not justify a higher one
        return AdaptiveLimit(min(_MOST, self.cost + _STEP * cost / self.cost), self.cut_at)


def cost_of(declared_length: int | None) -> int:
    """Return the cost of a request. `declared_length` is its Content-Length, None if chunked."""
    return POST_COST + (UNDECLARED_COST if declared_length is None else declared_length)


def reserve_of(declared_length: int | None) -> int:
    """Return the bytes that are charged for a body before it arrives."""
    return RESERVE if declared_length is None else min(declared_length, RESERVE)


def counted_cost(cost: int, arriving_cost: int, limit: AdaptiveLimit) -> float:
    """Return the cost that counts against the limit.

    Bodies that are still arriving use at most half of the limit: slow senders must not block all others.
    """
    return cost + min(arriving_cost, limit.cost / 2)


def over_share(body_bytes: int, requests: int, arriving: int, limits: Limits) -> bool:
    """Return whether one API key uses more than its share of body memory or of connections.

    The only request of a key is always within the share, because a share may be smaller than one body.
    """
    if requests <= 1:
        return False
    return body_bytes > limits.body_bytes // SHARES or arriving > limits.connections // SHARES


def over_organisation_share(
    body_bytes: int, requests: int, arriving: int, cost: int, limits: Limits, limit: AdaptiveLimit
) -> bool:
    """Return whether one organisation's requests use more than its share of memory, connections or work.

    `cost` is the cost of all its requests in flight. The only request of an organisation is within the share.
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

    An idle process admits every request, so that a stale gauge cannot block all traffic.
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
    """Return whether new events could expire in a queue whose oldest event has waited for `waited`.

    New events will wait about as long. Some are old on receipt, so the threshold is three quarters of
    `max_age`.
    """
    return waited > max_age * 0.75


def retry_after(cause: ShedReason, jitter: float) -> int:
    """Return whole seconds for `Retry-After`, spread over the range of the cause; `jitter` is in [0, 1)."""
    span = SHED_SPECS[cause]
    return span.soonest_s + int(jitter * (span.latest_s - span.soonest_s + 1))
