"""Caches the state and the event rate limit of organisations for 2 s."""

from collections.abc import Callable
from math import ceil

from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin.refusals import ErrorCode, Problem
from app.domain.ids import OrganisationId
from app.domain.pacing.inbound_limit import InboundLimit
from app.store import organisations
from app.store.errors import is_unavailable
from app.store.organisations import Organisation

CACHE_SECONDS = 2.0  # a suspension must be effective everywhere within 5 s
_REFRESH_SECONDS = 1.0  # for which an old row is used while it is read again
_MAX_CACHED = 10_000


class OrganisationCache:
    """Organisations, at most two seconds old, and the share of the rate limit used in this process."""

    def __init__(self, engine: AsyncEngine, *, monotonic: Callable[[], float]) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._cached: dict[OrganisationId, tuple[float, Organisation | None]] = {}
        self._used: dict[OrganisationId, InboundLimit] = {}

    async def find(self, id_: OrganisationId) -> Organisation | None:
        """Return an organisation, or None where there is none."""
        now = self._monotonic()
        cached = self._cached.get(id_)
        if cached is not None and now < cached[0]:
            return cached[1]
        if len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
        if cached is not None:
            # One request reads the row again; the others use the old row meanwhile.
            self._cached[id_] = (now + _REFRESH_SECONDS, cached[1])
        try:
            async with self._engine.connect() as connection:
                found = await organisations.find(connection, id_)
        except Exception as error:
            if cached is None or not is_unavailable(error):
                raise
            found = cached[1]
        self._cached[id_] = (now + CACHE_SECONDS, found)
        return found

    def forget(self, id_: OrganisationId) -> None:
        """Drop an organisation that this process has changed."""
        self._cached.pop(id_, None)

    def admit(self, organisation: Organisation | None) -> Problem | None:
        """Return why an organisation may send no events now, or None."""
        if organisation is None:
            return None
        if organisation.suspended_at is not None:
            return Problem(ErrorCode.ORGANISATION_SUSPENDED)
        used = self._limit(organisation)
        wait = 0.0 if used is None else used.wait(self._monotonic())
        return None if wait <= 0 else Problem(ErrorCode.EVENT_RATE_EXCEEDED, retry_after=ceil(wait))

    def charge(self, id_: OrganisationId, events: int) -> None:
        """Count admitted events. A request larger than the rest of the limit is admitted; later requests
        wait.
        """
        if (used := self._used.get(id_)) is not None:
            used.take(events, self._monotonic())

    def _limit(self, organisation: Organisation) -> InboundLimit | None:
        rate = organisation.limits.events_per_second
        if rate is None:
            self._used.pop(organisation.id, None)
            return None
        used = self._used.get(organisation.id)
        if used is None or used.rate != rate:
            used = self._used[organisation.id] = InboundLimit(rate, self._monotonic())
        return used
