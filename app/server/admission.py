"""What is under way at the door of this process, and whether one more may come in.

The decision is pure (`app.domain.admission`); here are its gauges. A ticket stands for a request with a
body from before the body is read until it is answered.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from app.admin.refusals import ErrorCode, Problem
from app.domain.admission import (
    POST_COST,
    SHED_SPECS,
    AdaptiveLimit,
    CurrentLoad,
    Limits,
    ShedReason,
    cost_of,
    counted_cost,
    over_share,
    reserve_of,
    retry_after,
    shed_reason,
)
from app.domain.outcomes.reasons import JourneyCode

TICKET: Final = "ticket"  # where the scope's state holds the Ticket of a request
_LOOK_AT_MEMORY_EVERY_S: Final = 0.25
# Administrative requests keep a little room when posts have taken all of theirs: somebody must be able to
# pause a destination just then.
_KEPT_FOR_ACTS: Final = 4 * 1024 * 1024
_LARGE: Final = 256 * 1024
_HEAVY: Final = 1024 * 1024
_STORED: Final = frozenset({202, 207, 422})

_SENTENCES: Final = {
    ShedReason.CROWDED: "More events are under way here than can be stored in time; none of yours was taken.",
    ShedReason.BODIES: "The bodies being read fill the room kept for them; nothing of yours was taken.",
    ShedReason.COMMITS: "The database is slower than the events that come; none of yours was taken.",
    ShedReason.MEMORY: "This process holds as much memory as it may; none of your events was taken.",
    ShedReason.SHARE: "Bodies of this key fill its share of memory or connections; none of yours was taken.",
    ShedReason.LANE: "The advertiser's backlog cannot meet the age limit; no event was accepted.",
}


def shed_problem(cause: ShedReason) -> Problem:
    """Return what a cause is answered with, still without the time to come back."""
    code = SHED_SPECS[cause].code
    word = ErrorCode.TOO_MANY_REQUESTS if code is JourneyCode.RATE_LIMIT else ErrorCode.UNAVAILABLE
    return Problem(word, _SENTENCES[cause], extra={"code": code.value})


@dataclass(slots=True)
class Share:
    """What the admitted requests of one owner use at this moment: bytes of bodies, and bodies to come.

    Posts and administrative requests have shares apart, named by `key`.
    """

    key: tuple[str | None, bool]
    held: int = 0
    requests: int = 0
    arriving: int = 0


@dataclass(slots=True, eq=False)
class Permit:
    """One request that was let in. Times are monotonic; `read_at` is set once its body is complete.

    `held` is what it is charged with, `arrived` what the connection received, `seen` what was read of that.
    """

    is_post: bool
    cost: int
    held: int
    began: float
    told: int | None
    read_at: float | None = None
    seen: int = 0
    weight: int = 0  # bytes of objects that its body becomes, where that may be much
    arrived: int = 0
    arriving: bool = False  # counted among the bodies to come of its share
    share: Share | None = None
    left: bool = False


class AdmissionController:
    """Counts what is under way, and lets in or turns away. One per process; `monotonic` is in seconds."""

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
        self._bounds = bounds
        self._monotonic = monotonic
        self._jitter = jitter
        self._waiting_events = waiting_events
        self._read_resident = resident_bytes
        self._resident, self._resident_until = 0, float("-inf")
        self._allowance = AdaptiveLimit()
        self._posts = self._cost = self._arriving_cost = self._held = 0
        self._shares: dict[tuple[str | None, bool], Share] = {}
        self._complete: dict[Permit, None] = {}  # in the order in which their bodies were complete
        refused = Counter("turned_away", "Requests turned away unread", ["cause"], registry=registry)
        self._refused = {cause: refused.labels(cause.value) for cause in ShedReason}
        for name, told, read in (
            ("post_bytes_held", "Bytes of bodies under way", lambda: float(self._held)),
            ("posts_under_way", "Posts let in and not answered yet", lambda: float(self._posts)),
            ("post_allowance_bytes", "How much may be under way", lambda: self._allowance.cost),
        ):
            Gauge(name, told, registry=registry).set_function(read)

    def shed_reason(self, told: int | None) -> ShedReason | None:
        """Return why a post that knocks now would not be let in, and count it; None lets it in so far."""
        return self._shed_reason(told, self._monotonic())

    def admit(self, told: int | None) -> Permit | ShedReason:
        """Let a post in, or return why not, and count that. `told` is its length, None if chunked."""
        now = self._monotonic()
        if (cause := self._shed_reason(told, now)) is not None:
            return cause
        permit = Permit(True, cost_of(told), reserve_of(told), now, told)
        self._held += permit.held
        self._posts += 1
        self._arriving_cost += permit.cost
        return permit

    def _shed_reason(self, told: int | None, now: float) -> ShedReason | None:
        cause = shed_reason(self._pressure(now), self._allowance, told, self._bounds)
        if cause is not None:
            self._refused[cause].inc()
        return cause

    def retry_after(self, cause: ShedReason) -> int:
        """Return the seconds after which to come back, spread anew for each that asks."""
        return retry_after(cause, self._jitter())

    def enter(self, told: int | None, *, is_post: bool) -> Permit | Problem:
        """Let a request in, or return what it is answered with. `told` is as with `let_in`."""
        if is_post:
            entered = self.admit(told)
            return self._refusal(entered) if isinstance(entered, ShedReason) else entered
        if self._held + reserve_of(told) > self._bounds.body_bytes + _KEPT_FOR_ACTS:
            return self.refusal(ShedReason.BODIES)
        permit = Permit(False, cost_of(told), reserve_of(told), self._monotonic(), told)
        self._held += permit.held
        return permit

    def claim(self, permit: Permit, owner: str | None) -> Problem | None:
        """Count a request in the share of its owner; returns what to answer when that is used up.

        Called once its caller is known and before its body is read. Bodies without an owner have one share.
        """
        key = (owner, permit.is_post)
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = Share(key)
        permit.share = share
        share.requests += 1
        share.held += permit.held
        if permit.told is None or permit.arrived < permit.told:
            permit.arriving = True
            share.arriving += 1
        return self._over_share(share)

    def arrived(self, permit: Permit, size: int) -> None:
        """Charge bytes of a body at the moment they come, before anything reads them."""
        permit.arrived += size
        if permit.arrived > permit.held and not permit.left:
            self._hold(permit, permit.arrived)

    def read(self, permit: Permit, more: bytes, *, complete: bool) -> Problem | None:
        """Note bytes that were read; returns what to answer when a body outgrows the room or its share."""
        permit.seen += len(more)
        if permit.is_post and (permit.told is None or permit.told >= _HEAVY):
            permit.weight += weight_of(more)
        if permit.seen > permit.held:
            self._hold(permit, permit.seen)
        if permit.is_post and (dearer := permit.seen + POST_COST - permit.cost) > 0:
            permit.cost += dearer
            self._arriving_cost += dearer
        if permit.share is None:
            self.claim(permit, None)
        assert permit.share is not None
        if complete:
            self._completed(permit, permit.share)
            return None  # all of it is here: to refuse it now would only waste it
        room = self._bounds.body_bytes + (0 if permit.is_post else _KEPT_FOR_ACTS)
        return self.refusal(ShedReason.BODIES) if self._held > room else self._over_share(permit.share)

    def _completed(self, permit: Permit, share: Share) -> None:
        permit.read_at = self._monotonic()
        if permit.arriving:
            permit.arriving = False
            share.arriving -= 1
        if permit.is_post:
            self._complete[permit] = None
            self._arriving_cost -= permit.cost
            self._cost += permit.cost

    def _hold(self, permit: Permit, size: int) -> None:
        grown = size - permit.held
        permit.held = size
        self._held += grown
        if permit.share is not None:
            permit.share.held += grown

    def _over_share(self, share: Share) -> Problem | None:
        over = over_share(share.held, share.requests, share.arriving, self._bounds)
        return self.refusal(ShedReason.SHARE) if over else None

    def grown(self, permit: Permit) -> Problem | None:
        """Look at memory again where a large body is about to be read into something far larger.

        It must have room for what the body becomes, too: a megabyte of numbers is thirty of objects, which
        stay until they are stored. A lone one is let through: see `turned_away`.
        """
        if permit.seen < _LARGE or self._posts <= 1:
            return None
        self._resident = self._read_resident()
        needed = self._resident + permit.weight
        return self.refusal(ShedReason.MEMORY) if needed > self._bounds.resident_bytes else None

    def leave(self, permit: Permit, status: int) -> None:
        """Note that a request was answered, or given up by its caller."""
        permit.left = True
        if permit.is_post:
            if permit.read_at is None:
                self._arriving_cost -= permit.cost
            else:
                del self._complete[permit]
                # Only what went the whole way says how long the way takes.
                if status in _STORED:
                    self._learn(permit, permit.read_at)
                self._cost -= permit.cost
            self._posts -= 1
        self._held -= permit.held
        if (share := permit.share) is not None:
            share.held -= permit.held
            share.requests -= 1
            share.arriving -= permit.arriving
            if share.requests == 0:
                del self._shares[share.key]

    def refusal(self, cause: ShedReason) -> Problem:
        """Return what a request that is turned away is answered with, and count it."""
        self._refused[cause].inc()
        return self._refusal(cause)

    def _refusal(self, cause: ShedReason) -> Problem:
        return replace(shed_problem(cause), retry_after=self.retry_after(cause))

    def _learn(self, permit: Permit, read_at: float) -> None:
        now = self._monotonic()
        self._allowance = self._allowance.answered(
            cost=permit.cost,
            began=permit.began,
            took_s=now - read_at,
            under_way=counted_cost(self._cost, self._arriving_cost, self._allowance),
            now=now,
            target_latency_s=self._bounds.target_latency_s,
        )

    def _pressure(self, now: float) -> CurrentLoad:
        if now >= self._resident_until:
            self._resident, self._resident_until = self._read_resident(), now + _LOOK_AT_MEMORY_EVERY_S
        oldest = next(iter(self._complete), None)
        return CurrentLoad(
            posts=self._posts,
            complete=len(self._complete),
            cost=self._cost,
            arriving_cost=self._arriving_cost,
            body_bytes=self._held,
            waiting_events=self._waiting_events(),
            oldest_s=0.0 if oldest is None or oldest.read_at is None else now - oldest.read_at,
            resident_bytes=self._resident,
        )


def weight_of(body: bytes) -> int:
    """Return the most memory that the values of a body will take beside its text, in bytes.

    Measured on CPython 3.11: a decimal takes 104 bytes and its place in a list eight, an empty list 64 and
    an object with one member 232.
    """
    return 112 * body.count(b",") + 72 * body.count(b"[") + 240 * body.count(b"{")


_STATM: Final = Path("/proc/self/statm")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Return the memory this process holds, in bytes; 0 where the system does not tell."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0
