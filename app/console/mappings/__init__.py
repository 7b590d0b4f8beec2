"""The list of a destination's mappings, the paths of its events, and the deletion of a mapping."""

from starlette.responses import Response

from app.admin.access import Scope
from app.admin.destinations.event_schemas import read_observed
from app.admin.mappings.drafts import delete_mapping, list_mappings
from app.api.access.secured_route import requires
from app.api.paging import PAGE as PAGE_SIZE
from app.api.paging import Cursor, number_of
from app.console import pages
from app.console.access.secured_page import CurrentDestination, CurrentVisit, page_router
from app.console.destinations.page import PAGE, show_page
from app.domain.mapping.fields import FIELDS
from app.domain.suggestions.from_samples import fields_by_path

router = page_router()

_MOST_PATHS = 200
MAPPINGS = PAGE + "/mappings"
MAPPING = MAPPINGS + "/{mapping_id}"


@router.get(MAPPINGS)
@requires(Scope.DESTINATIONS_READ)
async def list_all(visit: CurrentVisit, destination: CurrentDestination, cursor: Cursor = None) -> Response:
    """List the destination's mappings, one page at a time."""
    found = await list_mappings(
        visit.context,
        visit.caller,
        destination.id,
        limit=PAGE_SIZE + 1,
        after=number_of(visit.context, cursor),
    )
    content = pages.listed(visit.context, found, lambda details: (details.mapping.number,), cursor)
    return await show_page(visit, destination, "mappings", "mappings.html", **content)


@router.get(PAGE + "/event-schema")
@requires(Scope.DESTINATIONS_READ)
async def event_schema(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """List the paths of recent events: fill rate, types and suggested fields, and never their values."""
    observed = await read_observed(visit.context, visit.caller, found.id)
    return await show_page(
        visit,
        found,
        "mappings",
        "event_schema.html",
        schema=observed.schema,
        entries=list(observed.schema.entries.values())[:_MOST_PATHS],
        fields=fields_by_path(observed.suggestion),
        labels={name: field.label for name, field in FIELDS.items()},
    )


@router.post(MAPPING + "/delete")
@requires(Scope.DESTINATIONS_WRITE)
async def delete(visit: CurrentVisit, destination_id: str, mapping_id: str) -> Response:
    """Archive the mapping."""
    await delete_mapping(visit.context, visit.caller, destination_id, mapping_id, None)
    return visit.done("mapping_deleted", PAGE + "/mappings")


def address_of(destination_id: str, mapping_id: str) -> str:
    """Return the address of a mapping's editor."""
    return f"/console/destinations/{destination_id}/mappings/{mapping_id}"
