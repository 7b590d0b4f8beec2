"""Event names over HTTP: list the pinned names of an advertiser, and rename an event type (R12)."""

from pydantic import Field

from app.admin import Scope
from app.admin.inputs import RequestBody
from app.admin.mappings.event_names import RenamedEvent, list_event_names, rename_event
from app.api.access.secured_route import Context, SecuredRouter
from app.api.lists import Page, Paging
from app.store.mappings.event_names import Pin

router = SecuredRouter("event names")


class EventNameChange(RequestBody):
    """The new name of an event type."""

    to: str = Field(examples=["Added to cart"])


class EventNamePage(Page[Pin]):
    """A page of pinned event names."""


@router.get(
    "/advertisers/{advertiser_id}/event-names", Scope.DESTINATIONS_READ, summary="List pinned event names"
)
async def list_all(context: Context, advertiser_id: str, paging: Paging) -> EventNamePage:
    """List the pinned name of each event type of an advertiser."""
    return paging.part(EventNamePage, await list_event_names(context, advertiser_id))


@router.post(
    "/advertisers/{advertiser_id}/event-names/{event_type}/rename",
    Scope.DESTINATIONS_WRITE,
    summary="Rename a pinned event name",
)
async def rename(
    context: Context, advertiser_id: str, event_type: str, body: EventNameChange
) -> RenamedEvent:
    """Rename an event type. Amazon treats a new name as a new event.

    The rename publishes a new version of each published mapping with this constant event type (`mappings`). A
    mapping that reads the event type from the event does not change (`mappings_left`). Its events of this
    type are rejected until you change its name.
    """
    return await rename_event(context, advertiser_id, event_type, body.to)
