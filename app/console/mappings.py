"""The list of a destination's mappings, and the deletion of one."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.mappings import delete_mapping, list_mappings
from app.api.paging import PAGE as PAGE_SIZE
from app.api.paging import Cursor, cursor_of, number_of, split_page
from app.api.secured_route import Context, requires
from app.console import confirmations, pages
from app.console.destination import PAGE, content_of
from app.console.secured_page import CurrentVisitor, Form, SecuredPage
from app.console.sessions import Visitor
from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES
from app.store.destinations import Destination

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

MAPPINGS = PAGE + "/mappings"
MAPPING = MAPPINGS + "/{mapping_id}"


@router.get(MAPPINGS, response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def list_all(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, cursor: Cursor = None
) -> Response:
    """List the destination's mappings, one page at a time."""
    content = await content_of_mappings(context, visitor, destination_id)
    found = await list_mappings(
        context, visitor.caller, destination_id, limit=PAGE_SIZE + 1, after=number_of(cursor)
    )
    items, more = split_page(found, PAGE_SIZE)
    return pages.show(
        request,
        "mappings.html",
        **content,
        mappings=items,
        next_cursor=cursor_of(items[-1].mapping.number) if more else None,
        later=cursor is not None,
        types=EVENT_TYPES,
        sources=EVENT_SOURCES,
    )


@router.post(MAPPING + "/delete", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def delete(
    destination_id: str, mapping_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Archive the mapping."""
    await delete_mapping(context, visitor.caller, destination_id, mapping_id, None)
    address = f"/console/destinations/{destination_id}/mappings"
    return confirmations.redirect(context, address, "mapping_deleted")


async def content_of_mappings(context: AppContext, visitor: Visitor, destination_id: str) -> dict[str, Any]:
    """Return the content of the head of a page under Mappings."""
    return content_of(context, await destination_of(context, visitor, destination_id), visitor, "mappings")


async def destination_of(context: AppContext, visitor: Visitor, destination_id: str) -> Destination:
    """Return a destination that the visitor may see. Raises Refusal (404)."""
    async with context.engine.connect() as connection:
        return await find_visible(connection, visitor.caller, destination_id)


def address_of(destination_id: str, mapping_id: str) -> str:
    """Return the address of a mapping's editor."""
    return f"/console/destinations/{destination_id}/mappings/{mapping_id}"
