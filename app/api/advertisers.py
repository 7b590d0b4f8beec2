"""Event names over HTTP: list the pinned names of an advertiser, rename one (R12)."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import publishing
from app.admin.access import Caller, Scope
from app.admin.inputs import EventNameChange
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.api.paging import PAGE, Cursor, Limit, page_from
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.destination import advertiser_id_problem
from app.domain.ids import AdvertiserId
from app.domain.mapping.event_name import clean_event_name, event_name_problem
from app.store import audit, destinations, event_names
from app.store.event_names import Pin
from app.store.mappings import StoredMapping

router = APIRouter(route_class=SecuredRoute, tags=["event names"])


def pin_response(pin: Pin) -> dict[str, Any]:
    """Return the response for a pin."""
    return {"event_type": pin.event_type, "name": pin.name, "pinned_at": pin.pinned_at}


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
) -> dict[str, Any]:
    """List the pinned name of each event type of an advertiser."""
    async with context.engine.connect() as connection:
        await _require_all_visible(connection, caller, advertiser_id)
        pins = await event_names.of_advertiser(connection, advertiser_id)
    return page_from([pin_response(pin) for pin in pins], limit, cursor)


@router.post(
    "/advertisers/{advertiser_id}/event-names/{event_type}/rename", summary="Rename a pinned event name"
)
@requires(Scope.DESTINATIONS_WRITE)
async def rename(
    advertiser_id: str, event_type: str, body: EventNameChange, caller: CurrentCaller, context: Context
) -> dict[str, Any]:
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
    return {
        "advertiser_id": advertiser_id,
        "event_type": event_type,
        "name": name,
        "previous_name": before.name,
        "mappings": [_mapping_reference(mapping) for mapping in republished],
        "mappings_left": [_mapping_reference(mapping) for mapping in unchanged],
    }


def _mapping_reference(mapping: StoredMapping) -> dict[str, str]:
    return {"id": mapping.id, "destination_id": mapping.destination, "name": mapping.name}
