"""Pinned event names: the list by advertiser and event type, and a rename with what it changes (R12)."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.event_names import rename_event
from app.admin.pinned_names import list_pinned_names, preview_rename
from app.admin.refusals import Refusal
from app.api.errors import status_of
from app.api.paging import PAGE as PAGE_SIZE
from app.api.paging import Cursor, bad_cursor, cursor_of, place_of, split_page
from app.api.secured_route import Context, requires
from app.console import confirmations, pages
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.console.sessions import Visitor
from app.domain.conversion.event_types import EVENT_TYPES

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_PAGE = "/console/event-names"
_NAME = _PAGE + "/{advertiser_id}/{event_type}"


@router.get(_PAGE, response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(
    request: Request,
    context: Context,
    visitor: CurrentVisitor,
    q: Annotated[str, Query(max_length=200)] = "",
    cursor: Cursor = None,
) -> Response:
    """List pinned names by advertiser and event type."""
    after = None
    if (place := place_of(cursor)) is not None:
        if len(place) != 2:
            raise bad_cursor()
        after = (place[0], place[1])
    found = await list_pinned_names(
        context, visitor.caller, limit=PAGE_SIZE + 1, after=after, search=q.strip() or None
    )
    pins, has_more = split_page(found, PAGE_SIZE)
    return pages.show(
        request,
        "event_names.html",
        pins=[(pin, type_label(pin.event_type)) for pin in pins],
        q=q,
        next_cursor=cursor_of(pins[-1].advertiser_id, pins[-1].event_type) if has_more else None,
        may_change=visitor.caller.may(Scope.DESTINATIONS_WRITE),
    )


@router.get(_NAME, response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def name_page(
    request: Request, advertiser_id: str, event_type: str, context: Context, visitor: CurrentVisitor
) -> Response:
    """Show a pinned name, the mappings that use it, and the form that renames it."""
    return await _show(request, advertiser_id, event_type, context, visitor)


@router.post(_NAME, response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def rename(
    request: Request,
    advertiser_id: str,
    event_type: str,
    context: Context,
    visitor: CurrentVisitor,
    form: Form,
) -> Response:
    """Rename the event type and republish the mappings that send it."""
    to = form_text(form, "to")
    try:
        renamed = await rename_event(context, visitor.caller, advertiser_id, event_type, to)
    except Refusal as refusal:
        if status_of(refusal.problem) != 422:
            raise
        return await _show(
            request, advertiser_id, event_type, context, visitor, to=to, problem=refusal.problem.detail
        )
    address = f"{_PAGE}/{advertiser_id}/{event_type}"
    if renamed.name == renamed.previous_name:
        return confirmations.redirect(context, address, "event_name_kept")
    return confirmations.redirect(context, address, "event_renamed", len(renamed.republished))


def type_label(event_type: str) -> str:
    """Return the label of an event type."""
    spec = EVENT_TYPES.get(event_type)
    return event_type if spec is None else spec.label


async def _show(
    request: Request,
    advertiser_id: str,
    event_type: str,
    context: AppContext,
    visitor: Visitor,
    *,
    to: str = "",
    problem: str | None = None,
) -> Response:
    impact = await preview_rename(context, visitor.caller, advertiser_id, event_type)
    return pages.show(
        request,
        "event_name.html",
        status=200 if problem is None else 422,
        impact=impact,
        label=type_label(event_type),
        to=to,
        problem=problem,
        may_change=visitor.caller.may(Scope.DESTINATIONS_WRITE),
    )
