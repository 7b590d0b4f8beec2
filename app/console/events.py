"""Event pages of a destination: lists by status, and the history of an event."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.event_history import read_event_history
from app.admin.event_list import EventFilter, list_destination_events
from app.admin.mapping_drafts import find_mapping
from app.admin.refusals import ErrorCode, Refusal
from app.api.paging import cursor_of, event_place_of
from app.api.secured_route import Context, requires
from app.console import event_view as present
from app.console import pages
from app.console.destination import PAGE, content_of, diagnosis_of
from app.console.secured_page import CurrentVisitor, SecuredPage
from app.console.sessions import Visitor
from app.console.wording import STATUSES
from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.outcomes.status import Status
from app.store import audit
from app.store.destinations import Destination

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_PAGE_SIZE = 50


@router.get(PAGE + "/events", response_model=None)
@requires(Scope.EVENTS_READ)
async def list_events(
    *,
    request: Request,
    destination_id: str,
    context: Context,
    visitor: CurrentVisitor,
    status: Annotated[str, Query(max_length=20)] = "",
    reason: Annotated[str, Query(max_length=64)] = "",
    execution: Annotated[str, Query(max_length=128)] = "",
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """List a destination's events, newest first."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    wanted = Status(status) if status in STATUSES else None
    wanted_events = EventFilter(status=wanted, reason=reason or None, execution_id=execution or None)
    listed = await list_destination_events(
        context,
        visitor.caller,
        destination_id,
        wanted_events,
        before=event_place_of(cursor),
        limit=_PAGE_SIZE,
    )
    return pages.show(
        request,
        "events.html",
        **content_of(context, found, visitor, "events"),
        items=pages.plain(listed.items),
        next_cursor=cursor_of(*listed.last_place) if listed.last_place else None,
        unreadable=listed.unreadable_batches,
        chosen=status if wanted else "",
        reason=reason,
        execution=execution,
        statuses=STATUSES,
        types=EVENT_TYPES,
        later=cursor is not None,
    )


@router.get(PAGE + "/event", response_model=None)
@requires(Scope.EVENTS_READ)
async def event_page(
    *,
    request: Request,
    destination_id: str,
    context: Context,
    visitor: CurrentVisitor,
    id: Annotated[str, Query(max_length=600)] = "",  # noqa: A002
    mapping: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Show the history of an event. Without an id, redirect to the list."""
    if not id.strip():
        return RedirectResponse(f"/console/destinations/{destination_id}/events", 303)
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    content = content_of(context, found, visitor, "events")
    try:
        history = await read_event_history(context, visitor.caller, destination_id, id, mapping)
    except Refusal as refusal:
        if refusal.problem.code is ErrorCode.NOT_FOUND:
            detail = refusal.problem.detail
            return pages.show(request, "event_missing.html", status=404, **content, id=id, detail=detail)
        if refusal.problem.code is ErrorCode.EVENT_AMBIGUOUS:
            ids = refusal.problem.extra["mapping_ids"]
            choices = [(mapping_id, await _name(context, found, mapping_id)) for mapping_id in ids]
            return pages.show(request, "event_choice.html", **content, id=id, choices=choices)
        raise
    if history.status == "rejected":
        detail = history.explanation
        return pages.show(request, "event_missing.html", status=404, **content, id=id, detail=detail)
    return pages.show(
        request, "event.html", **await event_content(context, visitor, found, pages.plain(history))
    )


async def event_content(
    context: AppContext, visitor: Visitor, found: Destination, trace: dict[str, Any]
) -> dict[str, Any]:
    """Return the content of an event's page, from its history."""
    # An event usually waits because of its destination.
    waiting = not present.is_final(trace) and visitor.caller.may(Scope.DESTINATIONS_READ)
    return {
        **content_of(context, found, visitor, "events"),
        "trace": trace,
        "verdict": present.verdict(trace),
        "story": present.timeline(
            trace, await _name(context, found, trace["mapping_id"]), await _names(context, trace["replays"])
        ),
        "warnings": present.warnings(trace),
        "final": present.is_final(trace),
        "diagnosis": await diagnosis_of(context, visitor, found) if waiting else None,
    }


async def _names(context: AppContext, replays: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """Return the names of the keys that replayed an event."""
    if not replays:
        return {}
    async with context.engine.connect() as connection:
        return await audit.names(connection, [replay["by"] for replay in replays])


async def _name(context: AppContext, destination: Destination, mapping: str | None) -> str | None:
    """Return the name of a mapping, a deleted one too; None if the event has no mapping."""
    if mapping is None:
        return None
    async with context.engine.connect() as connection:
        return str((await find_mapping(connection, destination, mapping)).draft["name"])
