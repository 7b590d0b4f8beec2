"""The list of a destination's mappings, and the deletion of a mapping."""

from fastapi import APIRouter
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.mappings.drafts import delete_mapping, list_mappings
from app.api.access.secured_route import requires
from app.api.paging import PAGE as PAGE_SIZE
from app.api.paging import Cursor, number_of, split_page
from app.console import confirmations, pages
from app.console.access.secured_page import CurrentDestination, CurrentVisit, SecuredPage
from app.console.destinations.page import PAGE, content_of
from app.domain.conversion.event_types import EVENT_TYPES

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

MAPPINGS = PAGE + "/mappings"
MAPPING = MAPPINGS + "/{mapping_id}"


@router.get(MAPPINGS, response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def list_all(visit: CurrentVisit, destination: CurrentDestination, cursor: Cursor = None) -> Response:
    """List the destination's mappings, one page at a time."""
    found = await list_mappings(
        visit.context, visit.caller, destination.id, limit=PAGE_SIZE + 1, after=number_of(cursor)
    )
    items, next_cursor = split_page(found, PAGE_SIZE, lambda details: (details.mapping.number,))
    return pages.show(
        visit.request,
        "mappings.html",
        **content_of(visit, destination, "mappings"),
        mappings=items,
        next_cursor=next_cursor,
        later=cursor is not None,
        types=EVENT_TYPES,
    )


@router.post(MAPPING + "/delete", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def delete(visit: CurrentVisit, destination_id: str, mapping_id: str) -> Response:
    """Archive the mapping."""
    await delete_mapping(visit.context, visit.caller, destination_id, mapping_id, None)
    address = f"/console/destinations/{destination_id}/mappings"
    return confirmations.redirect(visit.context, address, "mapping_deleted")


def address_of(destination_id: str, mapping_id: str) -> str:
    """Return the address of a mapping's editor."""
    return f"/console/destinations/{destination_id}/mappings/{mapping_id}"
