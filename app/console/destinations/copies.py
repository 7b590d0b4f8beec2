"""Pages that copy a mapping into a destination, or a destination with its mappings."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ValidationError
from starlette.responses import Response

from app.admin import catalog
from app.admin.access import Scope
from app.admin.destinations.copies import copy_destination, copy_mapping
from app.admin.destinations.settings import list_destinations
from app.admin.inputs import DestinationCopy
from app.admin.mappings.drafts import list_mappings, read_mapping
from app.admin.refusals import Refusal
from app.api.access.secured_route import requires
from app.api.paging import MOST
from app.console import form_view
from app.console.access.secured_page import (
    CurrentDestination,
    CurrentVisit,
    Form,
    SecuredPage,
    Visit,
    form_text,
)
from app.console.destinations.page import PAGE, show_page
from app.console.mappings import MAPPING, address_of
from app.domain.destination import State
from app.domain.mapping.document import MAX_NAME_LENGTH
from app.store.destinations.destinations import Destination

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_TARGETS = 20
_FIELDS = ("name", "advertiser_id", "region", "currency")


@router.get(MAPPING + "/copy", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def mapping_page(
    visit: CurrentVisit,
    destination: CurrentDestination,
    mapping_id: str,
    q: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Show the form that copies a mapping. `q` searches for the destination of the copy."""
    return await _mapping_page(visit, destination, mapping_id, q, {})


@router.post(MAPPING + "/copy", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def post_mapping(
    visit: CurrentVisit, destination: CurrentDestination, mapping_id: str, form: Form
) -> Response:
    """Copy the mapping as a draft and redirect to the copy."""
    to, name = form_text(form, "to"), form_text(form, "name")
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


@router.get(PAGE + "/copy", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def destination_page(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Show the form that copies a destination."""
    start = {"region": found.region.value, "currency": found.currency}
    return await _destination_page(visit, found, start, {})


@router.post(PAGE + "/copy", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def post_destination(visit: CurrentVisit, found: CurrentDestination, form: Form) -> Response:
    """Copy the destination and redirect to the copy, which is not connected yet."""
    values = {name: form_text(form, name) for name in _FIELDS}
    try:
        body = DestinationCopy.model_validate({name: value for name, value in values.items() if value})
        created = await copy_destination(visit.context, visit.caller, found.id, body)
    except (ValidationError, Refusal) as error:
        problems, status = form_view.problems_of(error)
        return await _destination_page(visit, found, values, problems, status=status)
    return visit.done("destination_copied", f"/console/destinations/{created.id}")


async def _destination_page(
    visit: Visit,
    found: Destination,
    values: Mapping[str, str],
    problems: Mapping[str, str],
    *,
    status: int = 200,
) -> Response:
    mappings = await list_mappings(visit.context, visit.caller, found.id, limit=MOST)
    return await show_page(
        visit,
        found,
        "settings",
        "destination_copy.html",
        status=status,
        fields={field.name: field for field in catalog.AMAZON.fields},
        values=values,
        problems=problems,
        mappings=mappings,
    )
