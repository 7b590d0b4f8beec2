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

# The cost of a request is its CPU time, expressed in bytes of the body of a post of events. POST_COST is the
# part of a post that does not depend on the body: headers, key, commit and response. Measured
# (docs/performance.md): a request of one event uses about five times the CPU of each further event.
POST_COST: Final = 2_048
# The cost of a body without Content-Length before it arrives. Bytes above it are charged on arrival.
UNDECLARED_COST: Final = 64 * 1024
# The most memory that is charged for a body before it arrives. Bytes above it are charged on arrival, so that
# declared lengths alone cannot use up the memory limit.
RESERVE: Final = 32 * 1024
# The bodies of a key that still arrive may use this part of the connections, those of an organisation the
# other part: their connections cannot be closed for others.
KEY_CONNECTIONS: Final = 1 / 3
ORGANISATION_CONNECTIONS: Final = 2 / 3

# The memory of a post in progress (its text, Amazon events and batch), in bytes for each byte of its cost.
MEMORY_PER_COST: Final = 16
# The allocator keeps memory after a flood, and new posts use it again. So high resident memory alone is no
# reason to shed: the requests in progress may use this part of the limit.
RETAINED_PART: Final = 1 / 8

# The adaptive limit: its first, lowest and highest value, and its growth after responses whose costs add up
# to the limit.
_INITIAL, _LEAST, _MOST, _STEP = 4.0 * MIB, 0.5 * MIB, 64.0 * MIB, 0.125 * MIB
_CUT = 0.7  # factor of the adaptive limit after a late response
_FEW = 8  # this many requests never exceed the adaptive limit, however large they are


class ShedReason(StrEnum):
    """Why a request is shed; a label of the metrics."""

    CROWDED = "crowded"  # the requests in flight exceed the adaptive limit
    BODIES = "bodies"  # the bodies of all requests reached their limit
    COMMITS = "commits"  # the database does not store the events of a flush in time
    MEMORY = "memory"  # the process exceeds its memory limit
    SHARE = "share"  # a limit is reached, and this API key uses more than its share of it
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
    flush_s: float = 10.0
    connections: int = 900

    @property
    def retained_cost(self) -> float:
        """The cost in progress that a process may have while it uses more memory than `resident_bytes`."""
        return self.resident_bytes * RETAINED_PART / MEMORY_PER_COST


class Usage(msgspec.Struct, gc=False):
    """What the requests in progress of a process, an organisation or a key use together.

    `cost` is in bytes, see POST_COST. `body_bytes` is the memory of bodies. `arriving` is the number of
    requests whose body is incomplete.
    """

    requests: int = 0
    arriving: int = 0
    cost: int = 0
    body_bytes: int = 0


class Demand(msgspec.Struct, frozen=True, gc=False):
    """What a request adds to `Usage` on arrival. A `spare` request may use more body memory than the limit.

    An operator must be able to pause a destination while posts of events use the complete limit.
    """

    cost: int
    body_bytes: int = 0
    is_events: bool = False
    has_body: bool = True
    spare_bytes: int = 0


class Load(msgspec.Struct, frozen=True, gc=False):
    """The usage of a process and of the sender of a request, and gauges of the process.

    `sharers` is the number of equal shares of each limit: the active organisations, times the active keys of
    the sender's organisation. A key is active while it has a request in progress. `flush_s` is the duration
    of the flush in progress.
    """

    process: Usage
    organisation: Usage
    key: Usage
    sharers: int
    flush_s: float
    resident_bytes: int


class AdaptiveLimit(msgspec.Struct, frozen=True, gc=False):
    """The adaptive concurrency limit: the cost that may be in flight, adapted to response times."""

    cost: float = _INITIAL
    cut_at: float = float("-inf")  # the time of the last decrease

    def answered(
        self, *, cost: int, began: float, took_s: float, in_progress: int, now: float, target_latency_s: float
    ) -> "AdaptiveLimit":
        """Return the limit after a response that was sent `took_s` seconds after the body arrived.

        A late response lowers the limit, unless its request began (`began`) before the last decrease. A
        timely response raises the limit if at least half of it is in use (`in_progress`).
        """
        if took_s > target_latency_s:
            return AdaptiveLimit(max(_LEAST, self.cost * _CUT), now) if began > self.cut_at else self
        if in_progress < self.cost / 2:
            return self
        return AdaptiveLimit(min(_MOST, self.cost + _STEP * cost / self.cost), self.cut_at)


def shed_reason(demand: Demand, load: Load, limit: AdaptiveLimit, limits: Limits) -> ShedReason | None:
    """Return the shed reason, or None to admit.

    A key that uses less than its share of a limit is admitted whatever others use, and a key without another
    request always. So a sender of large posts is shed before a quiet one, and all senders together use at
    most twice a limit.
    """
    process, key = load.process, load.key
    if not demand.cost:
        return None  # a probe or a live stream
    if (
        key.arriving >= limits.connections * KEY_CONNECTIONS
        or load.organisation.arriving >= limits.connections * ORGANISATION_CONNECTIONS
    ):
        return ShedReason.SHARE
    if demand.is_events and load.flush_s > limits.flush_s and process.requests:
        return ShedReason.COMMITS
    body_limit = limits.body_bytes + demand.spare_bytes
    if _exceeds(process.body_bytes, key.body_bytes, demand.body_bytes, body_limit, load):
        return _reason(ShedReason.BODIES, load)
    if not key.requests:
        return None
    if (
        demand.is_events
        and load.resident_bytes > limits.resident_bytes
        and _exceeds(process.cost, key.cost, demand.cost, limits.retained_cost, load)
    ):
        return _reason(ShedReason.MEMORY, load)
    if process.requests >= _FEW and _exceeds(process.cost, key.cost, demand.cost, limit.cost, load):
        return _reason(ShedReason.CROWDED, load)
    return None


def _exceeds(process: int, key: int, demand: int, limit: float, load: Load) -> bool:
    return process + demand > limit and key + demand > limit / load.sharers


def _reason(reason: ShedReason, load: Load) -> ShedReason:
    return ShedReason.SHARE if load.sharers > 1 else reason


def backlog_too_old(waited: timedelta, max_age: timedelta) -> bool:
    """Return whether new events could expire in a queue whose oldest event has waited for `waited`.

    The threshold is three quarters of the age limit: new events wait about as long as the oldest event, and
    some are already old on receipt.
    """
    return waited > max_age * 0.75


def retry_after(cause: ShedReason, jitter: float) -> int:
    """Return whole seconds for `Retry-After`, in the range of the shed reason. `jitter` is in [0, 1)."""
    spec = SHED_SPECS[cause]
    return spec.soonest_s + int(jitter * (spec.latest_s - spec.soonest_s + 1))
