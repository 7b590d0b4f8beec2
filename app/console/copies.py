"""Copy pages: a mapping into a destination, and a destination with its mappings."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from app.admin import catalog
from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.copies import copy_destination, copy_mapping
from app.admin.destination_settings import list_destinations
from app.admin.destinations import find_visible
from app.admin.field_problems import field_problems
from app.admin.inputs import DestinationCopy
from app.admin.mappings import list_mappings, read_mapping
from app.admin.refusals import Refusal
from app.api.errors import status_of
from app.api.paging import MOST
from app.api.secured_route import Context, requires
from app.console import confirmations, form_view, pages
from app.console.destination import PAGE, content_of
from app.console.mappings import MAPPING, address_of, content_of_mappings
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.console.sessions import Visitor
from app.domain.destination import State
from app.domain.mapping.document import MAX_NAME_LENGTH

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_TARGETS = 20
_FIELDS = ("name", "advertiser_id", "region", "currency")


@router.get(MAPPING + "/copy", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def mapping_page(
    *,
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: Context,
    visitor: CurrentVisitor,
    q: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Show the form that copies a mapping; `q` searches the destination to copy it to."""
    return await _mapping_page(request, destination_id, mapping_id, context, visitor, q, {})


@router.post(MAPPING + "/copy", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def post_mapping(
    *,
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: Context,
    visitor: CurrentVisitor,
    form: Form,
) -> Response:
    """Copy the mapping as a draft and redirect to the copy."""
    to, name = form_text(form, "to"), form_text(form, "name")
    try:
        copied = await copy_mapping(context, visitor.caller, destination_id, mapping_id, to=to, name=name)
    except Refusal as refusal:
        problem = refusal.problem
        if status_of(problem) != 422:
            raise
        problems = form_view.of_fields(problem.fields)
        return await _mapping_page(
            request, destination_id, mapping_id, context, visitor, "", problems, name=name, to=to
        )
    mapping = copied.mapping
    return confirmations.redirect(context, address_of(mapping.destination, mapping.id), "mapping_copied")


async def _mapping_page(
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: AppContext,
    visitor: Visitor,
    query: str,
    problems: Mapping[str, str],
    *,
    name: str | None = None,
    to: str | None = None,
) -> Response:
    found = await read_mapping(context, visitor.caller, destination_id, mapping_id)
    content = await content_of_mappings(context, visitor, destination_id)
    targets = [
        each
        for each in await list_destinations(context, visitor.caller, limit=_TARGETS + 1, search=query or None)
        if each.state is not State.ARCHIVED and each.id != destination_id
    ]
    return pages.show(
        request,
        "mapping_copy.html",
        status=422 if problems else 200,
        **content,
        here=address_of(destination_id, mapping_id),
        mapping=found.mapping,
        name=f"Copy of {found.mapping.name}"[:MAX_NAME_LENGTH] if name is None else name,
        max_name=MAX_NAME_LENGTH,
        to=to or destination_id,
        q=query,
        targets=targets[:_TARGETS],
        more=len(targets) > _TARGETS,
        problems=problems,
    )


@router.get(PAGE + "/copy", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def destination_page(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor
) -> Response:
    """Show the form that copies a destination."""
    return await _destination_page(request, destination_id, context, visitor, None, {})


@router.post(PAGE + "/copy", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def post_destination(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Copy the destination and redirect to the copy, which is not connected yet."""
    values = {name: form_text(form, name) for name in _FIELDS}
    try:
        body = DestinationCopy.model_validate({name: value for name, value in values.items() if value})
        created = await copy_destination(context, visitor.caller, destination_id, body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = form_view.of_errors(found, field_problems(found))
        return await _destination_page(
            request, destination_id, context, visitor, values, problems, status=422
        )
    except Refusal as refusal:
        problem = refusal.problem
        problems = form_view.of_fields(problem.fields) or {"": problem.detail or ""}
        return await _destination_page(
            request, destination_id, context, visitor, values, problems, status=status_of(problem)
        )
    query = "?alike=1" if created.similar else ""
    address = f"/console/destinations/{created.destination.id}{query}"
    return confirmations.redirect(context, address, "destination_copied")


async def _destination_page(
    request: Request,
    destination_id: str,
    context: AppContext,
    visitor: Visitor,
    values: Mapping[str, str] | None,
    problems: Mapping[str, str],
    *,
    status: int = 200,
) -> Response:
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    mappings = await list_mappings(context, visitor.caller, destination_id, limit=MOST)
    start = {"region": found.region.value, "currency": found.currency}
    return pages.show(
        request,
        "destination_copy.html",
        status=status,
        **content_of(context, found, visitor, "settings"),
        fields={field.name: field for field in catalog.AMAZON.fields},
        values=start if values is None else values,
        problems=problems,
        mappings=mappings,
    )
