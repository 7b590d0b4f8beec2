"""The limits of organisations in events a second, for all API processes together.

Each process admits its share of a limit. Twice a second it stores its demand: the rate of events that the
organisation sends to it. It reads the demands of the other processes and computes its share. If the read
fails, the share stays the same.
"""

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin import ErrorCode, Problem
from app.api.recent_rows import RecentRows
from app.domain.ids import OrganisationId
from app.domain.pacing.inbound_limit import InboundLimit, share_of
from app.store import PipelineConnection
from app.store.errors import DRIVER_ERRORS
from app.store.organisations import organisations
from app.store.organisations.scope import PipelinePool
from app.store.organisations.usage import exchange_demand
from app.telemetry import Telemetry

EXCHANGE_EVERY_S: Final = 0.5
# After a longer gap, the demands of other processes may be missing. The share then stays the same.
LONGEST_GAP_S: Final = 2.0
# An organisation that sent no request to this process for this time is removed from the counts.
IDLE_S: Final = 60.0


class _Usage:
    """The requests and events that an organisation sent to this process since the last sample."""

    def __init__(self, rate: int, now: float) -> None:
        self.limit = InboundLimit(rate, now)
        self.active_at = self.sampled_at = self.divided_at = now
        self.posts = self.received = self.refused = 0
        self.events_per_post = 1.0
        self.demand = self.stored = 0.0  # events per second

    def sample(self, now: float) -> None:
        """Update the demand.

        A refused post was not read, so it counts as many events as an average accepted post.
        """
        if self.posts:
            self.events_per_post = self.received / self.posts
        newest = (self.received + self.refused * self.events_per_post) / max(now - self.sampled_at, 0.001)
        self.posts = self.received = self.refused = 0
        self.sampled_at = now
        # The average over some seconds is used, because clients that wait for Retry-After return at the same
        # time.
        demand = self.demand + (min(newest, self.limit.rate) - self.demand) / 4
        if self.limit.wait(now) > 0:  # Retry-After was computed with the current share
            demand = max(demand, self.limit.share)
        self.demand = demand if demand > self.limit.rate / 100 else 0.0

    def divide(self, others: list[float], now: float) -> None:
        """Compute this process's share from its demand and the demands of the other processes."""
        if (seconds := now - self.divided_at) <= LONGEST_GAP_S:
            self.limit.divide(share_of(self.limit.rate, self.demand, others), seconds, now)
        self.divided_at = now


@dataclass(slots=True)
class InboundLimits:
    """The limits of the organisations that send events to this process. `monotonic` returns seconds."""

    monotonic: Callable[[], float]
    _process: str = field(default_factory=partial(secrets.token_hex, 8))
    _usages: dict[OrganisationId, _Usage] = field(default_factory=dict)
    _ended: set[OrganisationId] = field(default_factory=set)  # the next exchange deletes their rows

    def wait(self, organisation: OrganisationId, rate: int | None) -> float:
        """Return the seconds until a request is admitted. Return 0 or less to admit it now.

        `rate` is the limit of the organisation; None means that it has no limit.
        """
        if rate is None:
            if organisation in self._usages:
                self._end(organisation)
            return 0.0
        now = self.monotonic()
        usage = self._usages.get(organisation)
        if usage is None:
            usage = self._usages[organisation] = _Usage(rate, now)
            self._ended.discard(organisation)
        elif usage.limit.rate != rate:
            usage.limit = InboundLimit(rate, now, part=usage.limit.share / usage.limit.rate)
        usage.active_at = now
        wait = usage.limit.wait(now)
        if wait > 0:
            usage.refused += 1
        return wait

    def charge(self, organisation: OrganisationId, events: int) -> float:
        """Count the events of a request whose body was read, if the organisation has a limit.

        Return 0.0 to admit the request, also one larger than the rest of the limit: later requests then wait.
        Other requests may have used the limit since `wait`. Then count no event, and return the seconds until
        the request is admitted.
        """
        if (usage := self._usages.get(organisation)) is None:
            return 0.0
        now = self.monotonic()
        if (wait := usage.limit.wait(now)) > 0:
            usage.refused += 1
            return wait
        usage.limit.take(events, now)
        usage.received += events
        usage.posts += 1
        return 0.0

    def refund(self, organisation: OrganisationId, events: int) -> None:
        """Take back the charge for a request whose body is malformed."""
        if (usage := self._usages.get(organisation)) is not None:
            usage.limit.take(-events, self.monotonic())

    def _end(self, organisation: OrganisationId) -> None:
        del self._usages[organisation]
        self._ended.add(organisation)

    async def exchange(self, connection: PipelineConnection) -> None:
        """Store the demand of this process, and compute its shares from the demand of all processes."""
        now = self.monotonic()
        for id_ in [id_ for id_, usage in self._usages.items() if now - usage.active_at > IDLE_S]:
            self._end(id_)
        for usage in self._usages.values():
            usage.sample(now)
        usages, ended = dict(self._usages), frozenset(self._ended)
        rows = await exchange_demand(
            connection,
            self._process,
            # A demand of 0 is written only once. Other processes ignore a row that is no longer updated.
            demand={id_: usage.demand for id_, usage in usages.items() if usage.demand or usage.stored},
            ended=ended,
            read=usages.keys(),
        )
        self._ended -= ended
        others: defaultdict[OrganisationId, list[float]] = defaultdict(list)
        for organisation, demand in rows:
            others[organisation].append(demand)
        now = self.monotonic()
        for id_, usage in usages.items():
            usage.stored = usage.demand
            usage.divide(others[id_], now)

    async def run(self, pool: PipelinePool, telemetry: Telemetry) -> None:
        while True:
            await asyncio.sleep(EXCHANGE_EVERY_S)
            if not self._usages and not self._ended:
                continue
            try:
                async with pool.acquire() as connection:
                    await self.exchange(connection)
            except DRIVER_ERRORS as error:
                telemetry.failed("inbound_limits.exchange_failed", error, level=logging.WARNING)


class OrganisationCache(RecentRows[OrganisationId, organisations.Organisation]):
    """Caches organisations for a few seconds, and applies the limits on the events that they send."""

    def __init__(self, engine: AsyncEngine, *, monotonic: Callable[[], float]) -> None:
        async def read(ids: Sequence[OrganisationId]) -> dict[OrganisationId, organisations.Organisation]:
            async with engine.connect() as connection:
                return await organisations.by_ids(connection, ids)

        super().__init__(read, monotonic=monotonic)
        self.limits = InboundLimits(monotonic=monotonic)

    async def admit(self, id_: OrganisationId) -> Problem | None:
        """Return the reason why an organisation may not send events or dry runs now, or None if it may.

        If the organisation cannot be read, it raises: a post that went on would wait for the database again.
        """
        organisation = await self.find(id_)
        if organisation is None:
            return None
        if organisation.suspended_at is not None:
            return Problem(ErrorCode.ORGANISATION_SUSPENDED)
        wait = self.limits.wait(organisation.id, organisation.limits.events_per_second)
        return too_fast(wait) if wait > 0 else None


def too_fast(wait: float) -> Problem:
    """Return the problem of a request that is admitted after `wait` seconds."""
    return Problem(ErrorCode.EVENT_RATE_EXCEEDED, retry_after=ceil(wait))
