"""Whether an organisation may send events now."""

from collections.abc import Callable, Sequence
from math import ceil

from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin.refusals import ErrorCode, Problem
from app.api.access.inbound_limits import InboundLimits
from app.api.recent_rows import RecentRows
from app.domain.ids import OrganisationId
from app.store.organisations import organisations
from app.store.organisations.organisations import Organisation


class OrganisationCache(RecentRows[OrganisationId, Organisation]):
    """Caches organisations for a few seconds, and applies the limits on the events that they send."""

    def __init__(self, engine: AsyncEngine, *, monotonic: Callable[[], float]) -> None:
        async def read(ids: Sequence[OrganisationId]) -> dict[OrganisationId, Organisation]:
            async with engine.connect() as connection:
                return await organisations.by_ids(connection, ids)

        super().__init__(read, monotonic=monotonic)
        self.limits = InboundLimits(monotonic=monotonic)

    def admit(self, organisation: Organisation | None) -> Problem | None:
        """Return the reason why an organisation may not send events now, or None if it may."""
        if organisation is None:
            return None
        if organisation.suspended_at is not None:
            return Problem(ErrorCode.ORGANISATION_SUSPENDED)
        return _too_fast(self.limits.wait(organisation.id, organisation.limits.events_per_second))

    def charge(self, id_: OrganisationId, events: int) -> Problem | None:
        """Count the events of a request. Return None to admit the request, or the reason why it is not
        admitted.

        A request larger than the rest of the limit is still admitted. Later requests then wait.
        """
        return _too_fast(self.limits.charge(id_, events))


def _too_fast(wait: float) -> Problem | None:
    return None if wait <= 0 else Problem(ErrorCode.EVENT_RATE_EXCEEDED, retry_after=ceil(wait))
