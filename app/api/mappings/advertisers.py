"""Event names over HTTP: list the pinned names of an advertiser, and rename an event type (R12)."""

from fastapi import APIRouter

from app.admin.access import Scope
from app.admin.inputs import EventNameChange
from app.admin.mappings.event_names import RenamedEvent, list_event_names, rename_event
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.paging import Page, Paging
from app.store.mappings.event_names import Pin

router = APIRouter(route_class=SecuredRoute, tags=["event names"])


class EventNamePage(Page[Pin]):
    """A page of pinned event names."""


@router.get("/advertisers/{advertiser_id}/event-names", summary="List pinned event names")
@requires(Scope.DESTINATIONS_READ)
async def list_all(
    advertiser_id: str, caller: CurrentCaller, context: Context, paging: Paging
) -> EventNamePage:
    """List the pinned name of each event type of an advertiser."""
    return paging.part(EventNamePage, await list_event_names(context, caller, advertiser_id))


@router.post(
    "/advertisers/{advertiser_id}/event-names/{event_type}/rename", summary="Rename a pinned event name"
)
@requires(Scope.DESTINATIONS_WRITE)
async def rename(
    advertiser_id: str, event_type: str, body: EventNameChange, caller: CurrentCaller, context: Context
) -> RenamedEvent:
    """Rename an event type. Amazon treats a new name as a new event.

    The rename publishes a new version of each published mapping with this constant event type (`mappings`). A
    mapping that reads the event type from the event does not change (`mappings_left`). Its events of this
    type are rejected until you change its name.
    """
    return await rename_event(context, caller, advertiser_id, event_type, body.to)
