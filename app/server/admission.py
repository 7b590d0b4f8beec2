"""Admission control: counts the requests in progress and decides whether to admit another.

The decision is pure (`app.domain.admission`); this module measures the load. A permit stands for one request,
from its head until the response.
"""

import os
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Gauge

from app.admin import Caller, ErrorCode, Problem
from app.api.http.headers import RawHeaders
from app.domain.admission import (
    MIB,
    POST_COST,
    RESERVE,
    SHED_SPECS,
    UNDECLARED_COST,
    AdaptiveLimit,
    Demand,
    Limits,
    Load,
    ShedReason,
    Usage,
    retry_after,
    shed_reason,
)
from app.domain.outcomes.reasons import JourneyCode
from app.server.request_head import EVENTS_PATH, RequestHead, route_cost
from app.telemetry import NAMESPACE, counters_from_zero

# A sender that ignores Retry-After and repeats a refused post at once must not use the CPU of others.
REFUSAL_DELAY_S: Final = 0.1
PERMIT: Final = "permit"  # key of the request's Permit in the scope's state
MEMORY_SAMPLE_INTERVAL_S: Final = 0.25
# Additional body bytes for administrative requests: an operator must be able to pause a destination while
# posts of events use the complete limit.
_ADMIN_RESERVE_BYTES: Final = 4 * MIB
_COMPLETED_STATUSES: Final = frozenset({202, 207, 422})  # of posts whose events were all processed

_SENTENCES: Final = {
    ShedReason.CROWDED: "The service is overloaded. Nothing was accepted.",
    ShedReason.BODIES: "Request bodies fill the memory reserved for them. Nothing was accepted.",
    ShedReason.COMMITS: "The database is slower than the incoming events. Nothing was accepted.",
    ShedReason.MEMORY: "The service is at its memory limit. Nothing was accepted.",
    ShedReason.SHARE: "This key or organisation uses its share of memory, connections or work. Try again.",
    ShedReason.LANE: "The advertiser's backlog cannot meet the age limit. No event was accepted.",
}


def shed_problem(reason: ShedReason) -> Problem:
    """Return the error response for a shed request, without `Retry-After`."""
    code = SHED_SPECS[reason].code
    error = ErrorCode.TOO_MANY_REQUESTS if code is JourneyCode.RATE_LIMIT else ErrorCode.UNAVAILABLE
    return Problem(error, _SENTENCES[reason], extra={"code": code.value})


class SenderUsage(msgspec.Struct, eq=False):
    """The usage of an organisation and of its keys with a request in progress.

    Requests whose key is not cached share one entry, and so do requests without a key.
    """

    usage: Usage
    keys: dict[str | None, Usage]


class Permit(msgspec.Struct, eq=False):
    """One admitted request with its `head`. Times are monotonic; `read_at` is set when its body is complete.

    `caller` has the key of the request if it is current. `received` counts the body bytes that the
    connection received, and `read` the bytes that the endpoint read. `reserved` is the number of bytes that
    are charged.
    """

    head: RequestHead
    is_events: bool
    caller: Caller | None
    organisation: str | None
    key: str | None
    cost: int
    reserved: int
    started_at: float
    levels: tuple[Usage, Usage, Usage]  # of the process, the organisation and the key
    read_at: float | None = None
    read: int = 0
    received: int = 0
    released: bool = False


@dataclass(eq=False)
class AdmissionController:
    """Admits or sheds the requests of one process.

    `known_caller` returns the cached caller of a key in the headers, and whether it is current. `monotonic`
    is in seconds.
    """

    bounds: Limits
    registry: InitVar[CollectorRegistry]
    known_caller: Callable[[RawHeaders], tuple[Caller | None, bool]]
    monotonic: Callable[[], float]
    jitter: Callable[[], float]
    flush_age_s: Callable[[], float]
    resident_bytes: Callable[[], int]
    _resident: int = 0  # bytes, as of the last sample
    _resident_until: float = float("-inf")
    _adaptive_limit: AdaptiveLimit = field(default_factory=AdaptiveLimit)
    _posts: int = 0
    _process: Usage = field(default_factory=Usage)
    _senders: dict[str | None, SenderUsage] = field(default_factory=dict)

    def __post_init__(self, registry: CollectorRegistry) -> None:
        self._shed = counters_from_zero(
            registry, "requests_shed", "Requests shed by admission control", "reason", ShedReason
        )
        gauge = partial(Gauge, namespace=NAMESPACE, registry=registry)
        gauge("request_body_bytes_in_flight", "Bytes of request bodies in progress").set_function(
            lambda: self._process.body_bytes
        )
        gauge("event_requests_in_flight", "Posts of events admitted and not yet answered").set_function(
            lambda: self._posts
        )
        gauge(
            "concurrency_limit_bytes",
            "Limit of the bytes of posts in progress, adapted to the measured latency",
        ).set_function(lambda: self._adaptive_limit.cost)

    def admit(self, head: RequestHead) -> Permit | ShedReason:
        """Admit a request by its head and return its permit, or count and return the reason to shed it."""
        now = self.monotonic()
        demand = demand_of(head)
        # An overloaded process cannot keep keys current. Their senders have their own shares nevertheless.
        caller, is_current = self.known_caller(head.raw)
        organisation, key = (None, None) if caller is None else (caller.organisation, caller.key)
        sender = self._senders.get(organisation) or SenderUsage(Usage(), {})
        usage = sender.keys.get(key) or Usage()
        sharers = (len(self._senders) + (organisation not in self._senders)) * (
            len(sender.keys) + (key not in sender.keys)
        )
        if now >= self._resident_until:
            self._resident = self.resident_bytes()
            self._resident_until = now + MEMORY_SAMPLE_INTERVAL_S
        load = Load(self._process, sender.usage, usage, sharers, self.flush_age_s(), self._resident)
        reason = shed_reason(demand, load, self._adaptive_limit, self.bounds)
        if reason is not None:
            self._shed[reason].inc()
            return reason
        self._senders[organisation] = sender
        sender.keys[key] = usage
        levels = (self._process, sender.usage, usage)
        for level in levels:
            level.requests += 1
            level.arriving += demand.has_body
            level.cost += demand.cost
            level.body_bytes += demand.body_bytes
        self._posts += demand.is_events
        read_at = None if demand.has_body else now
        return Permit(
            head,
            demand.is_events,
            caller if is_current else None,
            organisation,
            key,
            demand.cost,
            demand.body_bytes,
            now,
            levels,
            read_at,
        )

    def retry_after(self, reason: ShedReason) -> int:
        """Return the seconds for the header `Retry-After`, with jitter."""
        return retry_after(reason, self.jitter())

    def record_received(self, permit: Permit, size: int) -> None:
        """Charge body bytes when the connection has received them."""
        permit.received += size
        if permit.received > permit.reserved:
            self._reserve(permit, permit.received)

    def record_read(self, permit: Permit, chunk: bytes, *, complete: bool) -> Problem | None:
        """Charge body bytes that the endpoint has read. Return the error response if a limit is exceeded."""
        permit.read += len(chunk)
        if permit.read > permit.reserved:
            self._reserve(permit, permit.read)
        if permit.is_events and (extra := permit.read + POST_COST - permit.cost) > 0:
            permit.cost += extra
            for level in permit.levels:
                level.cost += extra
        if complete:
            # The complete body is in memory: a refusal would save nothing.
            permit.read_at = self.monotonic()
            for level in permit.levels:
                level.arriving -= 1
            return None
        process, _, key = permit.levels
        limit = self.bounds.body_bytes + (0 if permit.is_events else _ADMIN_RESERVE_BYTES)
        sharers = len(self._senders) * len(self._senders[permit.organisation].keys)
        if process.body_bytes > limit and key.body_bytes > limit / sharers:
            return self.refusal(ShedReason.BODIES if sharers == 1 else ShedReason.SHARE)
        return None

    @staticmethod
    def _reserve(permit: Permit, size: int) -> None:
        """Charge a body that is larger than its reserve."""
        if not permit.released:
            for level in permit.levels:
                level.body_bytes += size - permit.reserved
            permit.reserved = size

    def release(self, permit: Permit, status: int) -> None:
        """End a request that was answered with this status or whose client disconnected."""
        if permit.released:
            return
        permit.released = True
        # The duration of other responses says nothing about the time to process events.
        if permit.is_events and permit.read_at is not None and status in _COMPLETED_STATUSES:
            now = self.monotonic()
            self._adaptive_limit = self._adaptive_limit.answered(
                cost=permit.cost,
                began=permit.started_at,
                took_s=now - permit.read_at,
                in_progress=self._process.cost,
                now=now,
                target_latency_s=self.bounds.target_latency_s,
            )
        self._posts -= permit.is_events
        for level in permit.levels:
            level.requests -= 1
            level.arriving -= permit.read_at is None
            level.cost -= permit.cost
            level.body_bytes -= permit.reserved
        sender = self._senders[permit.organisation]
        if not permit.levels[2].requests:
            del sender.keys[permit.key]
        if not sender.keys:
            del self._senders[permit.organisation]

    def refusal(self, reason: ShedReason) -> Problem:
        """Count a shed request and return its error response."""
        self._shed[reason].inc()
        return self.problem(reason)

    def problem(self, reason: ShedReason) -> Problem:
        """Return the error response to a request that was shed and counted."""
        return replace(shed_problem(reason), retry_after=self.retry_after(reason))


def demand_of(head: RequestHead) -> Demand:
    """Return what a request needs: its cost, and the memory that is charged before its body arrives."""
    length, has_body = head.length, head.length != 0
    if (length or 0) > head.max_body:
        length = 0  # the body gets 413 and is not read
    reserved = RESERVE if length is None else min(length, RESERVE)
    if head.path == EVENTS_PATH and head.method == b"POST":
        cost = POST_COST + (UNDECLARED_COST if length is None else length)
        return Demand(cost, reserved, is_events=True, has_body=has_body)
    cost = route_cost(head.path, head.query)
    return Demand(
        cost and cost + (length or 0), reserved, has_body=has_body, spare_bytes=_ADMIN_RESERVE_BYTES
    )


_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes; 0 if the system does not report it."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
