"""The page that copies a mapping into the same or another destination."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.destinations.settings import list_destinations
from app.admin.mappings.drafts import copy_mapping, read_mapping
from app.admin.refusals import Refusal
from app.api.access.secured_route import requires
from app.console import form_view
from app.console.access.secured_page import CurrentDestination, CurrentVisit, Form, Visit, page_router
from app.console.destinations.page import show_page
from app.console.mappings import MAPPING, address_of
from app.domain.destination import State
from app.domain.mapping.document import MAX_NAME_LENGTH
from app.store.destinations.destinations import Destination

router = page_router()

_TARGETS = 20


@router.get(MAPPING + "/copy")
@requires(Scope.DESTINATIONS_WRITE)
async def mapping_page(
    visit: CurrentVisit,
    destination: CurrentDestination,
    mapping_id: str,
    q: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Show the form that copies a mapping. `q` searches for the destination of the copy."""
    return await _mapping_page(visit, destination, mapping_id, q, {})


@router.post(MAPPING + "/copy")
@requires(Scope.DESTINATIONS_WRITE)
async def post_mapping(
    visit: CurrentVisit, destination: CurrentDestination, mapping_id: str, form: Form
) -> Response:
    """Copy the mapping as a draft and redirect to the copy."""
    to, name = form.text("to"), form.text("name")
    try:
        copied = await copy_mapping(visit.context, visit.caller, destination.id, mapping_id, to=to, name=name)
    except Refusal as refusal:
        problems, status = form_view.problems_of(refusal)
        if status != 422:
            raise
        return await _mapping_page(visit, destination, mapping_id, "", problems, name=name, to=to)
    return visit.done("mapping_copied", address_of(copied.mapping.destination, copied.mapping.id))


async def _mapping_page(
    visit: Visit,
    destination: Destination,
    mapping_id: str,
    query: str,
    problems: Mapping[str, str],
    *,
    name: str | None = None,
    to: str | None = None,
) -> Response:
    found = await read_mapping(visit.context, visit.caller, destination.id, mapping_id)
    listed = await list_destinations(visit.context, visit.caller, limit=_TARGETS + 1, search=query)
    targets = [each for each in listed if each.state is not State.ARCHIVED and each.id != destination.id]
    return await show_page(
        visit,
        destination,
        "mappings",
        "mapping_copy.html",
        status=422 if problems else 200,
        here=address_of(destination.id, mapping_id),
        mapping=found.mapping,
        name=f"Copy of {found.mapping.name}"[:MAX_NAME_LENGTH] if name is None else name,
        max_name=MAX_NAME_LENGTH,
        to=to or destination.id,
        q=query,
        targets=targets[:_TARGETS],
        more=len(targets) > _TARGETS,
        problems=problems,
    )
