"""Admission control: counts the requests in progress and decides whether to admit another.

The decision is pure (`app.domain.admission`); this module measures the load. A permit stands for one request
with a body, from before the body is read until the response.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge

from app.admin.refusals import ErrorCode, Problem
from app.domain.admission import (
    ORGANISATION_SECONDS,
    POST_COST,
    SHED_SPECS,
    SMALL_COST,
    AdaptiveLimit,
    CurrentLoad,
    Limits,
    ShedReason,
    cost_of,
    counted_cost,
    exceeds_retained_memory,
    over_organisation_share,
    over_share,
    reserve_of,
    retry_after,
    shed_reason,
)
from app.domain.outcomes.reasons import JourneyCode
from app.domain.pacing.recent_senders import RecentSenders

# A sender that ignores Retry-After and repeats a refused post at once must not use the CPU of others.
REFUSAL_DELAY_S: Final = 0.1
PERMIT: Final = "permit"  # key of the request's Permit in the scope's state
_MEMORY_SAMPLE_INTERVAL_S: Final = 0.25
# Additional body bytes for administrative requests: an operator must be able to pause a destination while
# posts of events use the complete limit.
_ADMIN_RESERVE_BYTES: Final = 4 * 1024 * 1024
_MEMORY_CHECK_BYTES: Final = 256 * 1024  # smaller bodies are parsed without a check of the memory limit
# The parsed size is estimated for bodies of at least this declared length, and for chunked bodies.
_ESTIMATE_PARSED_SIZE_FROM: Final = 1024 * 1024
_COMPLETED_STATUSES: Final = frozenset({202, 207, 422})  # of posts whose events were all processed

_SENTENCES: Final = {
    ShedReason.CROWDED: "The service is overloaded. None of these events was accepted.",
    ShedReason.BODIES: "Request bodies fill the memory reserved for them. Nothing was accepted.",
    ShedReason.COMMITS: "The database is slower than the incoming events. None of these was accepted.",
    ShedReason.MEMORY: "The service is at its memory limit. None of these events was accepted.",
    ShedReason.SHARE: "This key or organisation uses its share of memory, connections or work. Try again.",
    ShedReason.LANE: "The advertiser's backlog cannot meet the age limit. No event was accepted.",
}


def shed_problem(reason: ShedReason) -> Problem:
    """Return the error response for a shed request, without `Retry-After`."""
    journey_code = SHED_SPECS[reason].code
    error = ErrorCode.TOO_MANY_REQUESTS if journey_code is JourneyCode.RATE_LIMIT else ErrorCode.UNAVAILABLE
    return Problem(error, _SENTENCES[reason], extra={"code": journey_code.value})


@dataclass(slots=True)
class Share:
    """The resources that the admitted requests of one API key (their owner) use together.

    `key` is a pair: the owner, and whether the requests are posts of events. An owner's posts of events have
    their own share.
    """

    key: tuple[str | None, bool]
    organisation: str | None = None
    reserved: int = 0  # bytes of bodies
    requests: int = 0
    arriving: int = 0  # requests whose body is incomplete
    cost: int = 0


class Permit(msgspec.Struct, eq=False):
    """One admitted request. Times are monotonic; `read_at` is set when its body is complete.

    `received` counts the body bytes that the connection received, and `read` the bytes that the endpoint
    read. `reserved` is the number of bytes charged to the limits. `parsed_size` is the estimated memory of
    the parsed body.
    """

    is_events: bool
    cost: int
    reserved: int
    started_at: float
    declared_length: int | None
    read_at: float | None = None
    read: int = 0
    parsed_size: int = 0
    received: int = 0
    arriving: bool = False  # counted in `Share.arriving`
    share: Share | None = None
    released: bool = False


class AdmissionController:
    """Admits or sheds the requests of one process. `monotonic` is in seconds."""

    def __init__(
        self,
        *,
        bounds: Limits,
        registry: CollectorRegistry,
        monotonic: Callable[[], float],
        jitter: Callable[[], float],
        waiting_events: Callable[[], int],
        resident_bytes: Callable[[], int],
    ) -> None:
        self._limits = bounds
        self._monotonic = monotonic
        self._jitter = jitter
        self._waiting_events = waiting_events
        self._read_resident_bytes = resident_bytes
        self._resident_bytes, self._resident_until = 0, float("-inf")
        self._adaptive_limit = AdaptiveLimit()
        self._posts = self._cost = self._arriving_cost = self._body_bytes = 0
        self._small_cost = self._parsed_bytes = 0
        self._shares: dict[tuple[str | None, bool], Share] = {}
        self._senders = RecentSenders(ORGANISATION_SECONDS)
        self._complete: dict[Permit, None] = {}  # ordered by `read_at`
        shed = Counter(
            "amazon_conversions_requests_shed",
            "Requests shed by admission control, by reason",
            ["reason"],
            registry=registry,
        )
        self._shed = {reason: shed.labels(reason.value) for reason in ShedReason}
        Gauge(
            "amazon_conversions_request_body_bytes_in_flight",
            "Bytes of request bodies in progress",
            registry=registry,
        ).set_function(lambda: self._body_bytes)
        Gauge(
            "amazon_conversions_event_requests_in_flight",
            "Posts of events admitted and not yet answered",
            registry=registry,
        ).set_function(lambda: self._posts)
        Gauge(
            "amazon_conversions_concurrency_limit_bytes",
            "Adaptive limit of the cost of posts in progress",
            registry=registry,
        ).set_function(lambda: self._adaptive_limit.cost)

    def admit(self, length: int | None) -> Permit | ShedReason:
        """Admit a post of events and return its permit, or count and return the reason to shed it.

        `length` is the declared length of the body, None if the body is chunked.
        """
        now = self._monotonic()
        reason = shed_reason(self._load(now), self._adaptive_limit, length, self._limits)
        if reason is not None:
            self._shed[reason].inc()
            return reason
        permit = Permit(True, cost_of(length), reserve_of(length), now, length)
        self._body_bytes += permit.reserved
        self._posts += 1
        self._arriving_cost += permit.cost
        return permit

    def retry_after(self, reason: ShedReason) -> int:
        """Return the seconds for the header `Retry-After`, with jitter."""
        return retry_after(reason, self._jitter())

    def enter(self, length: int | None, *, is_events: bool) -> Permit | Problem:
        """Admit a request and return its permit, or return the error response.

        `length` is the declared length of the body, None if the body is chunked.
        """
        if is_events:
            admitted = self.admit(length)
            return self._shed_problem(admitted) if isinstance(admitted, ShedReason) else admitted
        if self._body_bytes + reserve_of(length) > self._limits.body_bytes + _ADMIN_RESERVE_BYTES:
            return self.refusal(ShedReason.BODIES)
        permit = Permit(False, cost_of(length), reserve_of(length), self._monotonic(), length)
        self._body_bytes += permit.reserved
        return permit

    def charge_owner(
        self, permit: Permit, owner: str | None, organisation: str | None = None
    ) -> Problem | None:
        """Charge a request to its owner's share. Return the error response if the share is exceeded.

        Called after authentication, before the body is read. All requests without an owner use the same
        share.
        """
        key = (owner, permit.is_events)
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = Share(key, organisation)
        if organisation is not None:
            self._senders.record(organisation, permit.started_at)
        permit.share = share
        share.requests += 1
        share.cost += permit.cost
        share.reserved += permit.reserved
        if permit.declared_length is None or permit.received < permit.declared_length:
            permit.arriving = True
            share.arriving += 1
        return self._over_share(share)

    def record_received(self, permit: Permit, size: int) -> None:
        """Charge body bytes when the connection has received them."""
        permit.received += size
        if permit.received > permit.reserved and not permit.released:
            self._reserve(permit, permit.received)

    def record_read(self, permit: Permit, chunk: bytes, *, complete: bool) -> Problem | None:
        """Charge body bytes that the endpoint has read. Return the error response if a limit is exceeded."""
        permit.read += len(chunk)
        length = permit.declared_length
        if permit.is_events and (length is None or length >= _ESTIMATE_PARSED_SIZE_FROM):
            size = parsed_size_of(chunk)
            permit.parsed_size += size
            self._parsed_bytes += size
        if permit.read > permit.reserved:
            self._reserve(permit, permit.read)
        if permit.is_events and (extra_cost := permit.read + POST_COST - permit.cost) > 0:
            permit.cost += extra_cost
            self._arriving_cost += extra_cost
            if permit.share is not None:
                permit.share.cost += extra_cost
        if permit.share is None:
            self.charge_owner(permit, None)
        assert permit.share is not None
        if complete:
            self._record_complete(permit, permit.share)
            return None  # the complete body is in memory: a refusal would save nothing
        limit = self._limits.body_bytes + (0 if permit.is_events else _ADMIN_RESERVE_BYTES)
        return self.refusal(ShedReason.BODIES) if self._body_bytes > limit else self._over_share(permit.share)

    def _record_complete(self, permit: Permit, share: Share) -> None:
        permit.read_at = self._monotonic()
        if permit.arriving:
            permit.arriving = False
            share.arriving -= 1
        if permit.is_events:
            self._complete[permit] = None
            self._arriving_cost -= permit.cost
            self._cost += permit.cost
            if permit.cost <= SMALL_COST:
                self._small_cost += permit.cost

    def _reserve(self, permit: Permit, size: int) -> None:
        growth = size - permit.reserved
        permit.reserved = size
        self._body_bytes += growth
        if permit.share is not None:
            permit.share.reserved += growth

    def _over_share(self, share: Share) -> Problem | None:
        over = over_share(share.reserved, share.requests, share.arriving, self._limits)
        return self.refusal(ShedReason.SHARE) if over or self._over_organisation_share(share) else None

    def _over_organisation_share(self, share: Share) -> bool:
        """Return whether an organisation exceeds its share while another organisation sends too."""
        if share.organisation is None or not self._senders.are_several(self._monotonic()):
            return False
        kind = share.key[1]
        ours = [
            each
            for each in self._shares.values()
            if each.organisation == share.organisation and each.key[1] is kind
        ]
        return over_organisation_share(
            sum(each.reserved for each in ours),
            sum(each.requests for each in ours),
            sum(each.arriving for each in ours),
            sum(each.cost for each in ours),
            self._limits,
            self._adaptive_limit,
        )

    def memory_problem(self, permit: Permit) -> Problem | None:
        """Return the error response if a large body would exceed the memory limit when it is parsed.

        A megabyte of numbers becomes 30 MB of objects, which stay in memory until the events are stored. A
        post is never refused while it is the only post in progress.
        """
        if permit.read < _MEMORY_CHECK_BYTES or self._posts <= 1:
            return None
        self._resident_bytes = self._read_resident_bytes()
        if self._resident_bytes + permit.parsed_size > self._limits.resident_bytes and (
            exceeds_retained_memory(self._cost, self._parsed_bytes, self._limits)
        ):
            return self.refusal(ShedReason.MEMORY)
        return None

    def release(self, permit: Permit, status: int) -> None:
        """End a request that was answered with this status or whose client disconnected."""
        permit.released = True
        if permit.is_events:
            self._parsed_bytes -= permit.parsed_size
            if permit.read_at is None:
                self._arriving_cost -= permit.cost
            else:
                del self._complete[permit]
                # The duration of other responses says nothing about the time to process events.
                if status in _COMPLETED_STATUSES:
                    self._adapt_limit(permit, permit.read_at)
                self._cost -= permit.cost
                if permit.cost <= SMALL_COST:
                    self._small_cost -= permit.cost
            self._posts -= 1
        self._body_bytes -= permit.reserved
        if (share := permit.share) is not None:
            share.reserved -= permit.reserved
            share.requests -= 1
            share.cost -= permit.cost
            share.arriving -= permit.arriving
            if share.requests == 0:
                del self._shares[share.key]

    def refusal(self, reason: ShedReason) -> Problem:
        """Count a shed request and return its error response."""
        self._shed[reason].inc()
        return self._shed_problem(reason)

    def _shed_problem(self, reason: ShedReason) -> Problem:
        return replace(shed_problem(reason), retry_after=self.retry_after(reason))

    def _adapt_limit(self, permit: Permit, read_at: float) -> None:
        now = self._monotonic()
        self._adaptive_limit = self._adaptive_limit.answered(
            cost=permit.cost,
            began=permit.started_at,
            took_s=now - read_at,
            under_way=counted_cost(self._cost, self._arriving_cost, self._adaptive_limit),
            now=now,
            target_latency_s=self._limits.target_latency_s,
        )

    def _load(self, now: float) -> CurrentLoad:
        if now >= self._resident_until:
            self._resident_bytes = self._read_resident_bytes()
            self._resident_until = now + _MEMORY_SAMPLE_INTERVAL_S
        oldest = next(iter(self._complete), None)
        return CurrentLoad(
            posts=self._posts,
            complete=len(self._complete),
            cost=self._cost,
            small_cost=self._small_cost,
            arriving_cost=self._arriving_cost,
            body_bytes=self._body_bytes,
            waiting_events=self._waiting_events(),
            oldest_s=0.0 if oldest is None or oldest.read_at is None else now - oldest.read_at,
            resident_bytes=self._resident_bytes,
            parsed_bytes=self._parsed_bytes,
        )


def parsed_size_of(body: bytes) -> int:
    """Return an upper bound of the memory that parsed JSON takes besides its text, in bytes.

    Measured on CPython 3.11: a decimal takes 104 bytes and its slot in a list 8 bytes. An empty list takes 64
    bytes, an object with a single member 232 bytes.
    """
    return 112 * body.count(b",") + 72 * body.count(b"[") + 240 * body.count(b"{")


_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes; 0 if the system does not report it."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
