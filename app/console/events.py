"""Event pages of a destination: the filtered list with its export, and the history of one event."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.event_history import read_event_history
from app.admin.event_list import mapping_names
from app.admin.event_records import EventHistory
from app.admin.event_search import REJECTED, FoundEvent, search_events
from app.admin.mappings.drafts import find_mapping
from app.admin.mappings.payload_shape import payload_shape
from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import requires
from app.api.event_pages import search_page
from app.api.export import export
from app.api.paging import Cursor, cursor_of, search_position_of
from app.console import event_timeline, pages
from app.console.access.secured_page import CurrentDestination, CurrentVisit, SecuredPage, Visit
from app.console.destinations.page import PAGE, content_of, diagnosis_of
from app.console.event_filter import Events, FileFormat
from app.console.wording import EVENT_STATUSES, person
from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.outcomes.failure_cause import failure_cause
from app.domain.outcomes.status import FINAL
from app.store import audit
from app.store.destinations.destinations import Destination

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_PAGE_SIZE = 50
_REPLAYABLE = ("dead", "expired")


@router.get(PAGE + "/events", response_model=None)
@requires(Scope.EVENTS_READ)
async def list_events(
    visit: CurrentVisit, found: CurrentDestination, query: Events, cursor: Cursor = None
) -> Response:
    """List a destination's events, accepted and rejected, newest first."""
    content = content_of(visit, found, "events")
    chosen = query.range(visit.context.now())
    listed = await search_events(
        visit.context,
        visit.caller,
        query.events(chosen.since),
        destination_id=found.id,
        rejected=query.rejected,
        before=search_position_of(cursor),
        limit=_PAGE_SIZE,
    )
    return pages.show(
        visit.request,
        "events.html",
        **content,
        query=query,
        range=chosen,
        items=pages.plain(listed.items),
        next_cursor=cursor_of(*listed.following) if listed.following else None,
        back_to=listed.back_to,
        unreadable=listed.unreadable_batches,
        selectable=query.chosen_status in _REPLAYABLE and content["may_replay"],
        replay_parameters=[pair for pair in query.parameters if pair[0] != "field"],  # of rejections only
        statuses=EVENT_STATUSES,
        types=EVENT_TYPES,
        mappings=await mapping_names(visit.context, visit.caller, found.id),
        later=cursor is not None,
    )


@router.get(PAGE + "/events/export", response_model=None)
@requires(Scope.EVENTS_READ)
async def export_events(
    visit: CurrentVisit, destination_id: str, query: Events, file_format: FileFormat
) -> Response:
    """Stream the complete filtered list as CSV or NDJSON."""
    wanted = query.events(query.range(visit.context.now()).since)
    page_at = partial(search_page, visit.context, visit.caller, wanted, destination_id, query.rejected)
    return await export(file_format, FoundEvent, page_at, name="events")


@router.get(PAGE + "/event", response_model=None)
@requires(Scope.EVENTS_READ)
async def event_page(
    visit: CurrentVisit,
    found: CurrentDestination,
    id: Annotated[str, Query(max_length=600)] = "",
    mapping: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Show the history of an event. Without an id, redirect to the list."""
    if not id.strip():
        return RedirectResponse(f"/console/destinations/{found.id}/events", 303)
    content = content_of(visit, found, "events")
    try:
        history = await read_event_history(visit.context, visit.caller, found.id, id, mapping)
    except Refusal as refusal:
        if refusal.problem.code is ErrorCode.NOT_FOUND:
            content |= {"id": id, "detail": refusal.problem.detail}
            return pages.show(visit.request, "event_missing.html", status=404, **content)
        if refusal.problem.code is ErrorCode.EVENT_AMBIGUOUS:
            ids = refusal.problem.extra["mapping_ids"]
            choices = [(mapping_id, await _name(visit.context, found, mapping_id)) for mapping_id in ids]
            return pages.show(visit.request, "event_choice.html", **content, id=id, choices=choices)
        raise
    if history.status == REJECTED:
        content |= {"history": history, "verdict": EVENT_STATUSES[history.status]}
        return pages.show(visit.request, "event_rejected.html", **content)
    return pages.show(visit.request, "event.html", **await event_content(visit, found, history))


async def event_content(visit: Visit, found: Destination, history: EventHistory) -> dict[str, Any]:
    """Return the content of an event's page, from its history."""
    # If an event waits, the cause is usually its destination, so the page shows the diagnosis of the
    # destination.
    is_final = history.status in FINAL
    explains_wait = not is_final and visit.caller.may(Scope.DESTINATIONS_READ)
    names = await _names(visit.context, history)
    return {
        **content_of(visit, found, "events"),
        "history": history,
        "verdict": EVENT_STATUSES[history.status],
        "story": event_timeline.timeline(
            history,
            await _name(visit.context, found, history.mapping_id),
            names,
        ),
        "dismissed_by": person(history.dismissed_by, names) if history.dismissed_by else None,
        "shape": await payload_shape(
            visit.context, found, history.mapping_id, history.mapping_version, history.match_keys
        ),
        "warnings": event_timeline.warnings(history),
        "cause": failure_cause(history.amazon_code, history.amazon_message),
        "final": is_final,
        "diagnosis": await diagnosis_of(visit, found) if explains_wait else None,
    }


async def _names(context: AppContext, history: EventHistory) -> Mapping[str, str]:
    """Return the names of the keys that replayed or dismissed an event."""
    keys = [replay.by for replay in history.replays] + [history.dismissed_by or ""]
    if not any(keys):
        return {}
    async with context.engine.connect() as connection:
        return await audit.names(connection, keys)


async def _name(context: AppContext, destination: Destination, mapping: str | None) -> str | None:
    """Return the name of a mapping, even if it is deleted. Return None if the event has no mapping."""
    if mapping is None:
        return None
    async with context.engine.connect() as connection:
        return str((await find_mapping(connection, destination, mapping)).draft["name"])
