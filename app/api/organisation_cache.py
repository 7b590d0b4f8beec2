"""Whether an organisation may send events now: its row is read from the database every 2 s."""

import asyncio
from collections.abc import Callable
from functools import partial
from math import ceil

from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin.refusals import ErrorCode, Problem
from app.api.inbound_limits import InboundLimits
from app.domain.ids import OrganisationId
from app.store import organisations
from app.store.errors import is_unavailable
from app.store.organisations import Organisation

# A row is read again after this time, while requests go on with the old one; without an answer they wait for
# one after the second time. A suspension must be effective everywhere within 5 s.
REFRESH_SECONDS = 2.0
CACHE_SECONDS = 3.0
_MAX_CACHED = 10_000


class OrganisationCache:
    """Organisations as they were a few seconds ago, and the limits on what they send."""

    def __init__(self, engine: AsyncEngine, *, monotonic: Callable[[], float]) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._cached: dict[OrganisationId, tuple[float, Organisation | None]] = {}
        self._reads: dict[OrganisationId, asyncio.Task[Organisation | None]] = {}
        self.limits = InboundLimits(monotonic=monotonic)

    async def find(self, id_: OrganisationId) -> Organisation | None:
        """Return an organisation, or None where there is none."""
        cached = self._cached.get(id_)
        if cached is not None and (left := cached[0] - self._monotonic()) > 0:
            if left <= CACHE_SECONDS - REFRESH_SECONDS:
                self._read(id_)
            return cached[1]
        # A disconnecting client must not cancel the query for the others.
        return await asyncio.shield(self._read(id_))

    def _read(self, id_: OrganisationId) -> "asyncio.Task[Organisation | None]":
        """Return the running query for an organisation; start one if there is none."""
        read = self._reads.get(id_)
        if read is None:
            read = self._reads[id_] = asyncio.create_task(self._find(id_))
            read.add_done_callback(partial(self._end_read, id_))
        return read

    def _end_read(self, id_: OrganisationId, read: "asyncio.Task[Organisation | None]") -> None:
        if self._reads.get(id_) is read:
            del self._reads[id_]
        if not read.cancelled():
            read.exception()  # of a query that no request waits for: the next one fails or succeeds

    async def _find(self, id_: OrganisationId) -> Organisation | None:
        # Starts before the query: its result may be older than its arrival.
        until = self._monotonic() + CACHE_SECONDS
        cached = self._cached.get(id_)
        try:
            async with self._engine.connect() as connection:
                found = await organisations.find(connection, id_)
        except Exception as error:
            if cached is None or not is_unavailable(error):
                raise
            found = cached[1]
        if len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
        if self._reads.get(id_) is asyncio.current_task():  # else it was changed meanwhile
            self._cached[id_] = (until, found)
        return found

    def forget(self, id_: OrganisationId) -> None:
        """Drop an organisation that this process has changed."""
        self._cached.pop(id_, None)
        self._reads.pop(id_, None)

    def admit(self, organisation: Organisation | None) -> Problem | None:
        """Return why an organisation may send no events now, or None."""
        if organisation is None:
            return None
        if organisation.suspended_at is not None:
            return Problem(ErrorCode.ORGANISATION_SUSPENDED)
        wait = self.limits.wait(organisation.id, organisation.limits.events_per_second)
        return None if wait <= 0 else Problem(ErrorCode.EVENT_RATE_EXCEEDED, retry_after=ceil(wait))

    def charge(self, id_: OrganisationId, events: int) -> None:
        """Count admitted events. A request larger than the rest of the limit is admitted; later requests
        wait.
        """
        self.limits.charge(id_, events)
