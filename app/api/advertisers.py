"""Event names over HTTP: list the pinned names of an advertiser, rename one (R12)."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import publishing
from app.admin.access import Caller, Scope
from app.admin.inputs import EventNameChange
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.api.paging import PAGE, Cursor, Limit, Page, slice_page
from app.api.response_body import ResponseBody
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.destination import advertiser_id_problem
from app.domain.ids import AdvertiserId
from app.domain.mapping.event_name import clean_event_name, event_name_problem
from app.store import audit, destinations, event_names
from app.store.mappings import StoredMapping

router = APIRouter(route_class=SecuredRoute, tags=["event names"])


class EventNameView(ResponseBody):
    """The name that all conversions of an event type have for an advertiser."""

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
    mappings: list[MappingReference] = Field(description="Published again, with the new name.")
    mappings_left: list[MappingReference] = Field(
        description="Not changed: they read the event type from the event."
    )


async def _require_all_visible(connection: AsyncConnection, caller: Caller, advertiser: str) -> None:
    """Refuse a caller who cannot see every destination of the advertiser: they share its event names."""
    if advertiser_id_problem(advertiser):
        raise Refusal(ErrorCode.NOT_FOUND)
    if caller.destination_ids is None:
        return
    ids = await destinations.ids_of_advertiser(connection, advertiser)
    if not any(caller.sees(destination) for destination in ids):
        raise Refusal(ErrorCode.NOT_FOUND)
    if not all(caller.sees(destination) for destination in ids):
        raise Refusal(ErrorCode.FORBIDDEN, "Destinations that this key cannot see share these names.")


@router.get("/advertisers/{advertiser_id}/event-names", summary="List pinned event names")
@requires(Scope.DESTINATIONS_READ)
async def list_all(
    advertiser_id: str, caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> EventNamePage:
    """List the pinned name of each event type of an advertiser."""
    async with context.engine.connect() as connection:
        await _require_all_visible(connection, caller, advertiser_id)
        pins = await event_names.of_advertiser(connection, advertiser_id)
    shown, next_cursor = slice_page(pins, limit, cursor)
    return EventNamePage(items=[EventNameView.model_validate(pin) for pin in shown], next_cursor=next_cursor)


@router.post(
    "/advertisers/{advertiser_id}/event-names/{event_type}/rename", summary="Rename a pinned event name"
)
@requires(Scope.DESTINATIONS_WRITE)
async def rename(
    advertiser_id: str, event_type: str, body: EventNameChange, caller: CurrentCaller, context: Context
) -> RenamedEventView:
    """Rename an event type. Amazon treats a new name as a new event.

    Publishes a new version of each published mapping with that constant type (`mappings`). Mappings that read
    the type from the event are not changed (`mappings_left`): their events of this type are rejected until
    you change their name.
    """
    if problem := event_name_problem(body.to):
        raise Refusal(ErrorCode.INVALID, problem, FieldProblem("to", "event_name_invalid"))
    if event_type not in EVENT_TYPES:
        raise Refusal(ErrorCode.NOT_FOUND)
    name = clean_event_name(body.to)
    async with context.engine.begin() as connection:
        await _require_all_visible(connection, caller, advertiser_id)
        before, republished, unchanged = await publishing.rename(
            connection, AdvertiserId(advertiser_id), event_type, name, caller.actor
        )
        if before.name != name:
            await audit.record(
                connection,
                actor=caller.actor,
                action=audit.AuditAction.EVENT_NAME_RENAMED,
                subject=f"{advertiser_id}/{event_type}",
                before={"name": before.name},
                after={"name": name, "mappings": [mapping.id for mapping in republished]},
            )
    return RenamedEventView(
        advertiser_id=advertiser_id,
        event_type=event_type,
        name=name,
        previous_name=before.name,
        mappings=[_reference(mapping) for mapping in republished],
        mappings_left=[_reference(mapping) for mapping in unchanged],
    )


def _reference(mapping: StoredMapping) -> MappingReference:
    return MappingReference(id=mapping.id, destination_id=mapping.destination, name=mapping.name)
