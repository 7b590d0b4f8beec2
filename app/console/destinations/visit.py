"""A visit of a page of a destination, and the header that each of these pages has."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from fastapi import Depends

from app.admin import Scope
from app.admin.context import AppContext
from app.admin.destinations import reading
from app.admin.operations_home import read_condition
from app.console.access import sessions
from app.console.access.secured_page import CurrentVisit, Visit
from app.console.wording import REGIONS, STATES, health_label, state_key
from app.domain.destination import Region, State
from app.domain.ids import DestinationId
from app.store.destinations.destinations import Destination

PAGE = "/console/destinations/{destination_id}"


@dataclass(frozen=True, slots=True)
class DestinationVisit(Visit):
    """A request for a page of a destination, which the visitor may see."""

    destination: Destination

    @property
    def on(self) -> tuple[AppContext, DestinationId]:
        """The first arguments of a use case: `delete_mapping(*visit.on, mapping_id, expected)`."""
        return self.context, self.destination.id

    @property
    def here(self) -> str:
        """The address of the destination's page."""
        return f"/console/destinations/{self.destination.id}"

    async def renewed(self) -> Self:
        """Return this visit with the destination as it is now. Raises Refusal if it no longer exists."""
        async with reading(self.context, self.destination.id) as (_, found):
            return replace(self, destination=found)

    async def header(self) -> dict[str, Any]:
        """Return the content of the header. Its template sets `tab`."""
        found = self.destination
        may_change = found.state is not State.ARCHIVED
        condition = await read_condition(self.context, found.id) if may_change else None
        return {
            "destination": found,
            "health": health_label(condition) if condition else STATES[state_key(found)],
            "region": REGIONS[found.region],
            "may_write": may_change and self.caller.may(Scope.DESTINATIONS_WRITE),
            "may_replay": may_change and self.caller.may(Scope.REPLAY),
            "may_read_events": self.caller.may(Scope.EVENTS_READ),
            "development": self.context.development,
            "amazon": sign_in_origin(self.context, found.region),
        }


async def _visit(visit: CurrentVisit, destination_id: str) -> DestinationVisit:
    async with reading(visit.context, destination_id) as (_, found):
        return DestinationVisit(visit.request, visit.context, visit.visitor, found)


CurrentDestination = Annotated[DestinationVisit, Depends(_visit)]
"""The visit of a page of a destination. Its route answers 404 if the visitor may not see the destination."""


def sign_in_origin(context: AppContext, region: Region) -> str:
    """Return the origin of Amazon's sign-in page. The connect button redirects to this page."""
    return sessions.origin_of(context.sign_in.authorize_url(region, state="-", code_verifier="-" * 43))
