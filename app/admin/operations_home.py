"""Content of the home page: open incidents, the condition of every destination, and its deliveries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.admin.context import AppContext
from app.domain.ids import DestinationId, DestinationNumber
from app.domain.incidents.health import HOLDS_FOR
from app.store import incidents
from app.store.destinations import health, outcome_history
from app.store.incidents import OpenIncident


@dataclass(frozen=True, slots=True)
class OperationsHome:
    """Content of the home page. `history` has the outcomes of the listed destinations.

    `monitored_at` is when incidents were last computed, None if they were never computed.
    """

    incidents: Sequence[OpenIncident]
    open_incidents: int
    listing: health.DestinationListing
    history: Mapping[DestinationNumber, Sequence[outcome_history.OutcomeBucket]]
    monitored_at: datetime | None


async def read_home(context: AppContext, query: health.PageQuery, *, incident_limit: int) -> OperationsHome:
    """Read the content of the home page for a caller. `query.only` must equal `caller.only`."""
    assert query.only == context.caller.only
    async with context.pool.acquire() as connection:
        found, open_incidents = await incidents.most_severe(
            connection, only=context.caller.only, holds_for=HOLDS_FOR, limit=incident_limit
        )
        listing = await health.page(connection, query)
        numbers = [item.number for item in listing.items]
        history = await outcome_history.buckets(connection, numbers, width=query.width, since=query.since)
        monitored_at = await incidents.monitored_at(connection)
    return OperationsHome(found, open_incidents, listing, history, monitored_at)


async def read_condition(context: AppContext, destination: DestinationId) -> health.ListedDestination | None:
    """Return a destination as the home page lists it. None for one that is deleted."""
    wanted = health.PageQuery(since=context.now(), width=timedelta(minutes=1), limit=1, only=[destination])
    async with context.pool.acquire() as connection:
        return next(iter((await health.page(connection, wanted)).items), None)
