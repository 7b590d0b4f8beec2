"""Mapping pages (R9, R10): list, create, edit with a live preview, delete."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.admin import catalog
from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.inputs import PreviewRequest
from app.admin.refusals import Refusal
from app.api import event_schema as event_schemas
from app.api import mappings
from app.api import preview as previews
from app.api.errors import status_of
from app.api.paging import Cursor
from app.api.secured_route import Context, requires
from app.console import pages
from app.console.destination import PAGE, content_of
from app.console.form_view import of_fields
from app.console.mapping_form import from_form, keep_short_forms, to_form
from app.console.mapping_view import lint_warnings, paths, preview
from app.console.problem_view import ProblemView, problem_views
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text, with_if_match
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
    found = pages.plain(await mappings.list_all(destination_id, visitor.caller, context, cursor=cursor))
    return pages.show(
        request,
        "mappings.html",
        **content,
        mappings=found["items"],
        next_cursor=found["next_cursor"],
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
        created = pages.plain(await mappings.create(destination_id, draft, visitor.caller, context))
    except Refusal as refusal:
        if status_of(refusal.problem) != 422:
            raise
        problems = of_fields(refusal.problem.fields)
        return await _new(request, destination_id, context, visitor, name, problems, 422)
    return RedirectResponse(f"/console/destinations/{destination_id}/mappings/{created['id']}", 303)


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
    saved: Annotated[bool, Query()] = False,
) -> Response:
    """Show the mapping form beside a preview of an example event."""
    content = await _content(context, visitor, destination_id)
    found = pages.plain(await mappings.read(destination_id, mapping_id, visitor.caller, context))
    return await _editor(request, context, content, found, _document(found), saved=saved)


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
    found = pages.plain(await mappings.read(destination_id, mapping_id, visitor.caller, context))
    document = keep_short_forms(_document(found), from_form(_form_values(form)))
    if check_draft(document):
        return await _editor(request, context, content, found, document, status=422)
    # In a change, null removes a member; so members that the form left out are null.
    body = {**dict.fromkeys(_document(found)), **document}
    try:
        await mappings.change(
            destination_id=destination_id,
            mapping_id=mapping_id,
            body=body,
            caller=visitor.caller,
            context=context,
            request=with_if_match(request, form_text(form, "version")),
        )
    except Refusal as refusal:
        message = (
            refusal.problem.detail
            or "Someone else changed this mapping after you opened it. Your input is below, not saved. "
            "Saving it now replaces their changes."
        )
        return await _editor(
            request, context, content, found, document, status=status_of(refusal.problem), refused=message
        )
    next_page = "/publish" if form_text(form, "then") == "publish" else "?saved=1"
    return RedirectResponse(f"/console/destinations/{destination_id}/mappings/{mapping_id}{next_page}", 303)


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
    if sample_problem is None and not missing:
        body = PreviewRequest.model_construct(event=event, mapping=document)
        response = await previews.preview(destination_id, mapping_id, body, visitor.caller, context)
        view = preview(pages.plain(response))
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
    request: Request,
    destination_id: str,
    mapping_id: str,
    context: Context,
    visitor: CurrentVisitor,
    form: Form,
) -> Response:
    """Archive the mapping."""
    await mappings.delete(destination_id, mapping_id, visitor.caller, context, request)
    return RedirectResponse(f"/console/destinations/{destination_id}/mappings", 303)


def _problem_views(problems: Sequence[MappingProblem]) -> list[ProblemView]:
    return problem_views((problem.path, problem.sentence) for problem in problems)


def _form_values(form: FormData) -> dict[str, str]:
    return {name: value for name, value in form.items() if isinstance(value, str)}


_MEMBERS = (
    "name",
    "action",
    "event_type",
    "event_source",
    "event_name",
    "country_code",
    "fields",
    "custom_data",
    "consent",
)


def _document(found: dict[str, Any]) -> dict[str, Any]:
    """Return the draft's own members of a mapping in the API's response."""
    return {name: found[name] for name in _MEMBERS if name in found}


async def _content(context: AppContext, visitor: Visitor, destination_id: str) -> dict[str, Any]:
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    return content_of(context, found, visitor, "mappings")


async def _editor(
    request: Request,
    context: AppContext,
    content: dict[str, Any],
    found: dict[str, Any],
    document: dict[str, Any],
    *,
    status: int = 200,
    saved: bool = False,
    refused: str | None = None,
) -> Response:
    async with context.engine.connect() as connection:
        pins = await event_names.of_advertiser(connection, content["destination"]["advertiser_id"])
    visitor: Visitor = request.state.visitor
    schema = (await event_schemas.read_event_schema(content["destination"]["id"], visitor.caller, context))[
        "items"
    ]
    event = example_event(context.now())
    problems = check_draft(document)
    kind = catalog.AMAZON
    view = None
    if not check_publishable(document):
        # The strict parser keeps numbers exact, as on receipt.
        parsed = strict_json.parse(json.dumps(event).encode())
        body = PreviewRequest.model_construct(event=parsed, mapping=document)
        id_ = content["destination"]["id"]
        view = preview(pages.plain(await previews.preview(id_, found["id"], body, visitor.caller, context)))
    return pages.show(
        request,
        "mapping.html",
        status=status,
        **content,
        mapping=found,
        form=to_form(document, problems),
        wrong=_problem_views(problems),
        lacking=_problem_views(check_publishable(document)),
        refused=refused,
        saved=saved,
        kind=kind,
        most=MAX_CUSTOM_FIELDS,
        pins=[{"type": EVENT_TYPES[pin.event_type].label, "name": pin.name} for pin in pins],
        sample=json.dumps(event, indent=2),
        paths=paths(event, schema),
        odd=lint_warnings(document, content["destination"]["region"]),
        shown=view,
    )
