"""Whether an organisation may send events now: its row is read from the database every 2 s."""

from collections.abc import Callable
from math import ceil

from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin.refusals import ErrorCode, Problem
from app.api.inbound_limits import InboundLimits
from app.domain.ids import OrganisationId
from app.store import organisations
from app.store.errors import is_unavailable
from app.store.organisations import Organisation

CACHE_SECONDS = 2.0  # a suspension must be effective everywhere within 5 s
_REFRESH_SECONDS = 1.0  # for which an old row is used while it is read again
_MAX_CACHED = 10_000


class OrganisationCache:
    """Organisations as they were at most two seconds ago, and the limits on what they send."""

    def __init__(self, engine: AsyncEngine, *, monotonic: Callable[[], float]) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._cached: dict[OrganisationId, tuple[float, Organisation | None]] = {}
        self.limits = InboundLimits(monotonic=monotonic)

    async def find(self, id_: OrganisationId) -> Organisation | None:
        """Return an organisation, or None where there is none."""
        now = self._monotonic()
        cached = self._cached.get(id_)
        if cached is not None and now < cached[0]:
            return cached[1]
        if len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
        if cached is not None:
            # One request reads the row again; the others go on with the old one instead of reading it too.
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
        """Read an organisation again before its next use: this process has changed it."""
        self._cached.pop(id_, None)

    def admit(self, organisation: Organisation | None) -> Problem | None:
        """Return why an organisation may send no events now, or None."""
        if organisation is None:
            return None
        if organisation.suspended_at is not None:
            return Problem(ErrorCode.ORGANISATION_SUSPENDED)
        wait = self.limits.wait(organisation.id, organisation.limits.events_per_second)
        return None if wait <= 0 else Problem(ErrorCode.EVENT_RATE_EXCEEDED, retry_after=ceil(wait))

    def charge(self, id_: OrganisationId, events: int) -> None:
        """Count admitted events. A request larger than what is left is admitted, and the next ones wait."""
        self.limits.charge(id_, events)
