"""Search page for all destinations. One field searches all kinds of ids, and filters narrow the result."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.event_search import FoundEvent, SearchPage, destination_names, search_events
from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import requires
from app.api.paging import Cursor, cursor_of, search_position_of
from app.console import pages
from app.console.access.secured_page import CurrentVisit, SecuredPage
from app.console.event_filter import Events
from app.console.wording import EVENT_STATUSES
from app.domain.conversion.event_types import EVENT_TYPES

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_PAGE_SIZE = 50
MOST_LISTED = 200  # destinations in a menu; with more, their id is typed


@router.get("/console/events", response_model=None)
@requires(Scope.EVENTS_READ)
async def search(
    visit: CurrentVisit,
    query: Events,
    q: Annotated[str, Query(max_length=256)] = "",
    destination: Annotated[str, Query(max_length=64)] = "",
    cursor: Cursor = None,
) -> Response:
    """Find events of all visible destinations. If only one event has this id, open its page immediately."""
    text, chosen = q.strip(), query.range(visit.context.now())
    result = SearchPage([], None)
    is_asked = bool(text or destination or not query.is_empty)
    if is_asked:
        before = search_position_of(cursor)
        try:
            result = await search_events(
                visit.context,
                visit.caller,
                query.events(chosen.since, text or None),
                destination_id=destination or None,
                rejected=query.rejected,
                before=before,
                limit=_PAGE_SIZE,
            )
        except Refusal as refusal:  # no such destination, for this visitor
            if refusal.problem.code is not ErrorCode.NOT_FOUND:
                raise
        if (only := only_event(result)) is not None:
            return RedirectResponse(event_address(only), 303)
    names = await destination_names(visit.context, visit.caller, limit=MOST_LISTED + 1)
    parameters = [(name, value) for name, value in (("q", text), ("destination", destination)) if value]
    return pages.show(
        visit.request,
        "search.html",
        q=text,
        destination=destination,
        destinations=names if len(names) <= MOST_LISTED else None,
        query=query,
        range=chosen,
        parameters=[*parameters, *query.parameters],
        asked=is_asked,
        items=pages.plain(result.items),
        exact=result.is_exact,
        back_to=result.back_to,
        unreadable=result.unreadable_batches,
        next_cursor=cursor_of(*result.following) if result.following else None,
        later=cursor is not None,
        statuses=EVENT_STATUSES,
        types=EVENT_TYPES,
    )


def only_event(result: SearchPage) -> FoundEvent | None:
    """Return the only event with this id. Return None if several events have it.

    Rejections and the acceptance of the same event count as one event, because they share a page.
    """
    pages_of = {event_address(item) for item in result.items if item.mapping_id or item.event_id}
    accepted = {event_address(item) for item in result.items if item.status != "rejected"}
    if not result.is_exact or len(accepted or pages_of) != 1:
        return None
    destinations = {item.destination_id for item in result.items}
    if len(destinations) != 1:
        return None
    return next(item for item in result.items if not accepted or item.status != "rejected")


def event_address(item: FoundEvent) -> str:
    """Return the address of an event's page."""
    query = {"id": item.event_id or ""}
    if item.mapping_id:
        query["mapping"] = item.mapping_id
    return f"/console/destinations/{item.destination_id}/event?{urlencode(query)}"
