"""Mapping pages (R9, R10): list, create, edit with a live preview, delete."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, Response

from app.admin import catalog
from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.event_schemas import read_event_schema
from app.admin.mapping_drafts import (
    MappingDetails,
    change_draft,
    create_draft,
    delete_mapping,
    list_mappings,
    read_mapping,
)
from app.admin.previewing import preview_event
from app.admin.refusals import Refusal
from app.api.errors import status_of
from app.api.paging import PAGE as PAGE_SIZE
from app.api.paging import Cursor, cursor_of, number_of, split_page
from app.api.secured_route import Context, requires
from app.console import confirmations, pages
from app.console.destination import PAGE, content_of
from app.console.form_view import of_fields
from app.console.mapping_form import from_form, keep_short_forms, to_form
from app.console.mapping_view import lint_warnings, paths, preview
from app.console.problem_view import ProblemView, problem_views
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text, form_version
from app.console.sessions import Visitor
from app.domain import strict_json
from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES
from app.domain.mapping.document import MAX_CUSTOM_FIELDS, MappingProblem, check_draft, check_publishable
from app.domain.mapping.example import EXAMPLE_MAPPING, example_event
from app.store import event_names

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

MAPPINGS = PAGE + "/mappings"
MAPPING = MAPPINGS + "/{mapping_id}"

# The members that a new mapping starts with.
_PREFILLED = {name: EXAMPLE_MAPPING[name] for name in ("event_source", "country_code", "fields")}


@router.get(MAPPINGS, response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def list_all(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, cursor: Cursor = None
) -> Response:
    """List the destination's mappings, one page at a time."""
    content = await _content(context, visitor, destination_id)
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


@router.get(MAPPINGS + "/new", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def new(request: Request, destination_id: str, context: Context, visitor: CurrentVisitor) -> Response:
    """Show the form for a name and an action."""
    return await _new(request, destination_id, context, visitor, "", {})


@router.post(MAPPINGS + "/new", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def create(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Create a draft and redirect to its fields."""
    name = form_text(form, "name")
    draft = {"name": name, "action": form_text(form, "action") or None, **_PREFILLED}
    try:
        created = await create_draft(context, visitor.caller, destination_id, draft)
    except Refusal as refusal:
        if status_of(refusal.problem) != 422:
            raise
        problems = of_fields(refusal.problem.fields)
        return await _new(request, destination_id, context, visitor, name, problems, 422)
    address = f"/console/destinations/{destination_id}/mappings/{created.mapping.id}"
    return confirmations.redirect(context, address, "mapping_created")


async def _new(
    request: Request,
    destination_id: str,
    context: AppContext,
    visitor: Visitor,
    name: str,
    problems: dict[str, str],
    status: int = 200,
) -> Response:
    content = await _content(context, visitor, destination_id)
    actions = catalog.AMAZON.actions
    return pages.show(
        request, "mapping_new.html", status=status, **content, name=name, problems=problems, actions=actions
    )


@router.get(MAPPING, response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: Context,
    visitor: CurrentVisitor,
) -> Response:
    """Show the mapping form beside a preview of an example event."""
    content = await _content(context, visitor, destination_id)
    found = await read_mapping(context, visitor.caller, destination_id, mapping_id)
    return await _editor(request, context, content, found, found.mapping.draft)


@router.post(MAPPING, response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def save(
    *,
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: Context,
    visitor: CurrentVisitor,
    form: Form,
) -> Response:
    """Save the draft, or show the form again with each problem at its field."""
    content = await _content(context, visitor, destination_id)
    found = await read_mapping(context, visitor.caller, destination_id, mapping_id)
    draft = found.mapping.draft
    document = keep_short_forms(draft, from_form(_form_values(form)))
    if check_draft(document):
        return await _editor(request, context, content, found, document, status=422)
    # In a change, null removes a member; so members that the form left out are null.
    members = {**dict.fromkeys(draft), **document}
    try:
        await change_draft(context, visitor.caller, destination_id, mapping_id, members, form_version(form))
    except Refusal as refusal:
        message = (
            refusal.problem.detail
            or "Someone else changed this mapping after you opened it. Your input is below, not saved. "
            "Saving it now replaces their changes."
        )
        return await _editor(
            request, context, content, found, document, status=status_of(refusal.problem), refused=message
        )
    address = f"/console/destinations/{destination_id}/mappings/{mapping_id}"
    if form_text(form, "then") == "publish":
        address += "/publish"
    return confirmations.redirect(context, address, "draft_saved")


@router.post(MAPPING + "/preview", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def show_preview(
    *,
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: Context,
    visitor: CurrentVisitor,
    form: Form,
) -> Response:
    """Return the preview of the sample event with the form as typed. Nothing is stored."""
    event = strict_json.parse(form_text(form, "sample").encode())
    sample_problem = None
    if isinstance(event, strict_json.MalformedJson):
        sample_problem = strict_json.SENTENCES[event.why].replace("The body", "The sample")
    elif not isinstance(event, dict):
        sample_problem = "The sample must be one event: a JSON object."
    document = from_form(_form_values(form))
    missing = check_publishable(document)
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, visitor.caller, destination_id)
    view = None
    if isinstance(event, dict) and not missing:
        view = preview(
            await preview_event(context, visitor.caller, destination_id, mapping_id, event, document)
        )
    html = pages.part(
        "preview_part.html",
        wrong=sample_problem,
        lacking=_problem_views(missing),
        odd=lint_warnings(document, destination.region),
        shown=view,
    )
    return HTMLResponse(html)


@router.post(MAPPING + "/delete", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def delete(
    destination_id: str, mapping_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Archive the mapping."""
    await delete_mapping(context, visitor.caller, destination_id, mapping_id, None)
    address = f"/console/destinations/{destination_id}/mappings"
    return confirmations.redirect(context, address, "mapping_deleted")


def _problem_views(problems: Sequence[MappingProblem]) -> list[ProblemView]:
    return problem_views((problem.path, problem.sentence) for problem in problems)


def _form_values(form: FormData) -> dict[str, str]:
    return {name: value for name, value in form.items() if isinstance(value, str)}


async def _content(context: AppContext, visitor: Visitor, destination_id: str) -> dict[str, Any]:
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    return content_of(context, found, visitor, "mappings")


async def _editor(
    request: Request,
    context: AppContext,
    content: dict[str, Any],
    found: MappingDetails,
    document: Mapping[str, Any],
    *,
    status: int = 200,
    refused: str | None = None,
) -> Response:
    async with context.engine.connect() as connection:
        pins = await event_names.of_advertiser(connection, content["destination"]["advertiser_id"])
    visitor: Visitor = request.state.visitor
    destination_id = content["destination"]["id"]
    schema = await read_event_schema(context, visitor.caller, destination_id)
    event = example_event(context.now())
    problems = check_draft(dict(document))
    missing = check_publishable(dict(document))
    kind = catalog.AMAZON
    view = None
    if not missing:
        # The strict parser keeps numbers exact, as on receipt.
        parsed = strict_json.parse(json.dumps(event).encode())
        assert isinstance(parsed, dict)
        view = preview(
            await preview_event(context, visitor.caller, destination_id, found.mapping.id, parsed, document)
        )
    return pages.show(
        request,
        "mapping.html",
        status=status,
        **content,
        details=found,
        mapping=found.mapping,
        form=to_form(document, problems),
        wrong=_problem_views(problems),
        lacking=_problem_views(missing),
        refused=refused,
        kind=kind,
        most=MAX_CUSTOM_FIELDS,
        pins=[{"type": EVENT_TYPES[pin.event_type].label, "name": pin.name} for pin in pins],
        sample=json.dumps(event, indent=2),
        paths=paths(event, schema),
        odd=lint_warnings(document, content["destination"]["region"]),
        shown=view,
    )
