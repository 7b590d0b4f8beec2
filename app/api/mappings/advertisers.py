"""Event names over HTTP: list the pinned names of an advertiser, and rename an event type (R12)."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.inputs import EventNameChange
from app.admin.mappings.event_names import list_event_names, rename_event
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.api.paging import PAGE, Cursor, Limit, Page, slice_page
from app.store.mappings import StoredMapping

router = APIRouter(route_class=SecuredRoute, tags=["event names"])


class EventNameView(ResponseBody):
    """The name that an advertiser's conversions of an event type have."""

    event_type: str = Field(examples=["ADD_TO_SHOPPING_CART"])
    name: str = Field(examples=["Added to cart"])
    pinned_at: datetime


class EventNamePage(Page[EventNameView]):
    """A page of pinned event names."""


class MappingReference(ResponseBody):
    """A mapping, by its ids and its name."""

    id: str
    destination_id: str
    name: str


class RenamedEventView(ResponseBody):
    """The result of a rename."""

    advertiser_id: str
    event_type: str
    name: str
    previous_name: str
    mappings: list[MappingReference] = Field(description="Republished with the new name.")
    mappings_left: list[MappingReference] = Field(
        description="Not changed: they read the event type from the event."
    )
    waiting_events: int = Field(
        description="Events of the advertiser that wait. Those of this type are sent under the previous name."
    )


@router.get("/advertisers/{advertiser_id}/event-names", summary="List pinned event names")
@requires(Scope.DESTINATIONS_READ)
async def list_all(
    advertiser_id: str, caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> EventNamePage:
    """List the pinned name of each event type of an advertiser."""
    pins = await list_event_names(context, caller, advertiser_id)
    shown, next_cursor = slice_page(context, pins, limit, cursor)
    return EventNamePage(items=[EventNameView.model_validate(pin) for pin in shown], next_cursor=next_cursor)


@router.post(
    "/advertisers/{advertiser_id}/event-names/{event_type}/rename", summary="Rename a pinned event name"
)
@requires(Scope.DESTINATIONS_WRITE)
async def rename(
    advertiser_id: str, event_type: str, body: EventNameChange, caller: CurrentCaller, context: Context
) -> RenamedEventView:
    """Rename an event type. Amazon treats a new name as a new event.

    The rename publishes a new version of each published mapping with this constant event type (`mappings`). A
    mapping that reads the event type from the event does not change (`mappings_left`). Its events of this
    type are rejected until you change its name.
    """
    renamed = await rename_event(context, caller, advertiser_id, event_type, body.to)
    return RenamedEventView(
        advertiser_id=advertiser_id,
        event_type=event_type,
        name=renamed.name,
        previous_name=renamed.previous_name,
        mappings=[_reference(mapping) for mapping in renamed.republished],
        mappings_left=[_reference(mapping) for mapping in renamed.unchanged],
        waiting_events=renamed.waiting,
    )


def _reference(mapping: StoredMapping) -> MappingReference:
    return MappingReference(id=mapping.id, destination_id=mapping.destination, name=mapping.name)
