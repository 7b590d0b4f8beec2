"""Lists of events: of one destination, search, live tail, failed events, rejected events, and journeys."""

from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Query
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.events.failures import list_failures, list_rejections, summarize_rejections
from app.admin.events.journeys import read_journey_figures
from app.admin.events.search import EventPage, destination_names, mapping_names, search_events
from app.admin.events.summary import REJECTED, EventSummary
from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import requires
from app.api.export import export
from app.api.pages import event_page, rejection_page
from app.api.paging import PAGE_SIZE, Cursor, cursor_of, record_id_of, search_position_of
from app.console import pages
from app.console.access.secured_page import CurrentDestination, CurrentVisit, Visit, page_router, polled
from app.console.destinations.page import PAGE, show_page
from app.console.events.filter import ConsoleFilter, Events, FileFormat
from app.console.live_updates import Panel, streamed
from app.console.time_range import RangeName, RangeParameter, time_range
from app.domain.event_query import EventQuery
from app.store.events.rejections import RejectionRecord

router = page_router()

_TAIL_ROWS: Final = 60
_MOST_LISTED: Final = 200  # destinations in a menu; with more, their id is typed
_REPLAYABLE: Final = ("dead", "expired")
_Text = Annotated[str, Query(max_length=256)]
_Id = Annotated[str, Query(max_length=64)]


@router.get(PAGE + "/events")
@requires(Scope.EVENTS_READ)
async def list_events(
    visit: CurrentVisit, found: CurrentDestination, query: Events, cursor: Cursor = None
) -> Response:
    """List a destination's events, accepted and rejected, newest first."""
    chosen = query.range(visit.context.now())
    listed = await search_events(
        visit.context,
        query.query(since=chosen.since),
        destination_id=found.id,
        before=search_position_of(visit.context, cursor),
        limit=PAGE_SIZE,
    )
    return await show_page(
        visit,
        found,
        "events.html",
        **_content(visit, listed, cursor),
        query=query,
        range=chosen,
        searched=chosen.part_since(listed.back_to),
        selectable=query.status in _REPLAYABLE,
        replay_parameters=[pair for pair in query.parameters if pair[0] != "field"],  # of rejections only
        mappings=await mapping_names(visit.context, found.id),
    )


@router.get(PAGE + "/events/export")
@requires(Scope.EVENTS_READ)
async def export_events(
    visit: CurrentVisit, destination_id: str, query: Events, file_format: FileFormat
) -> Response:
    """Stream the complete filtered list as CSV or NDJSON."""
    wanted = query.query(since=query.range(visit.context.now()).since)
    page_at = partial(event_page, visit.context, destination_id, wanted)
    return await export(file_format, EventSummary, page_at, name="events")


@router.get("/console/events")
@requires(Scope.EVENTS_READ)
async def search(
    visit: CurrentVisit, query: Events, q: _Text = "", destination: _Id = "", cursor: Cursor = None
) -> Response:
    """Find events of all visible destinations. If only one event has this id, open its page immediately."""
    text, chosen = q.strip(), query.range(visit.context.now())
    result, before = EventPage([], None), search_position_of(visit.context, cursor)
    try:
        result = await search_events(
            visit.context,
            query.query(since=chosen.since, any_id=text or None),
            destination_id=destination or None,
            before=before,
            limit=PAGE_SIZE,
        )
    except Refusal as refusal:  # no such destination, for this visitor
        if refusal.problem.code is not ErrorCode.NOT_FOUND:
            raise
    if (only := _only_event(result)) is not None:
        return RedirectResponse(_event_address(only), 303)
    form = await _form(visit, query, text, destination)
    return visit.show(
        "search.html",
        **form,
        **_content(visit, result, cursor),
        range=chosen,
        searched=chosen.part_since(result.back_to),
        asked=bool(text or destination or not query.is_empty),
        exact=result.is_exact,
    )


@router.get("/console/tail")
@requires(Scope.EVENTS_READ)
async def tail(visit: CurrentVisit, query: Events, q: _Text = "", destination: _Id = "") -> Response:
    """Show the newest events, without values. Scripts keep the page current."""
    form = await _form(visit, query, q.strip(), destination)
    return visit.show(
        "tail.html",
        **form,
        **await _newest(visit, query, q, destination),
        stream=f"/console/tail/live?{urlencode(form['parameters'])}",
        rows_shown=_TAIL_ROWS,
    )


@router.get("/console/tail/live")
@requires(Scope.EVENTS_READ)
@polled
async def live_tail(visit: CurrentVisit, query: Events, q: _Text = "", destination: _Id = "") -> Response:
    """Stream the newest events for at most five minutes. The browser then connects again."""
    await _newest(visit, query, q, destination)  # validates the same parameters as the page

    async def read() -> Panel | None:
        try:
            content = await _newest(visit, query, q, destination)
        except Refusal:
            return None
        return Panel(pages.part("tail_part.html", **content))

    return streamed(visit, read)


async def _newest(visit: Visit, query: ConsoleFilter, q: str, destination: str) -> dict[str, Any]:
    found = await search_events(
        visit.context,
        query.query(any_id=q.strip() or None),
        destination_id=destination or None,
        limit=_TAIL_ROWS,
    )
    return {**_content(visit, found), "with_destination": not destination}


async def _form(visit: Visit, query: ConsoleFilter, q: str, destination: str) -> dict[str, Any]:
    """Return the content of the form above a list, and the parameters of the page."""
    names = await destination_names(visit.context)
    own = [(name, value) for name, value in (("q", q), ("destination", destination)) if value]
    return {
        "q": q,
        "destination": destination,
        "destinations": names if len(names) <= _MOST_LISTED else None,
        "query": query,
        "parameters": [*own, *query.parameters],
    }


def _content(visit: Visit, found: EventPage, cursor: str | None = None) -> dict[str, Any]:
    """Return the content of a list of events."""
    return {
        "items": found.items,
        "next_cursor": cursor_of(visit.context, *found.following) if found.following else None,
        "later": cursor is not None,
        "back_to": found.back_to,
        "unreadable": found.unreadable_batches,
    }


def _only_event(result: EventPage) -> EventSummary | None:
    """Return the only event with this id. Return None if several events have it.

    Rejections and the acceptance of the same event count as one event, because they share a page.
    """
    addresses = {_event_address(item) for item in result.items if item.mapping_id or item.event_id}
    accepted = {_event_address(item) for item in result.items if item.status != REJECTED}
    if not result.is_exact or len(accepted or addresses) != 1:
        return None
    if len({item.destination_id for item in result.items}) != 1:
        return None
    return next(item for item in result.items if not accepted or item.status != REJECTED)


def _event_address(item: EventSummary) -> str:
    """Return the address of an event's page."""
    query = {"id": item.event_id or ""}
    if item.mapping_id:
        query["mapping"] = item.mapping_id
    return f"/console/destinations/{item.destination_id}/event?{urlencode(query)}"


_MOST_GROUPS = 50
_GROUPS_ABOVE_LIST = 15


@router.get(PAGE + "/errors")
@requires(Scope.EVENTS_READ)
async def errors(visit: CurrentVisit, found: CurrentDestination, query: Events) -> Response:
    """Group dead, expired and rejected events by what went wrong."""
    chosen = query.range(visit.context.now())
    return await show_page(
        visit,
        found,
        "errors.html",
        query=query,
        range=chosen,
        failures=await list_failures(visit.context, found.id, since=chosen.since),
        groups=await summarize_rejections(visit.context, found.id, EventQuery(since=chosen.since)),
        most=_MOST_GROUPS,
        mappings=await mapping_names(visit.context, found.id),
    )


@router.get(PAGE + "/rejections")
@requires(Scope.EVENTS_READ)
async def rejections(
    visit: CurrentVisit, found: CurrentDestination, query: Events, cursor: Cursor = None
) -> Response:
    """List rejected events, newest first, below their counts."""
    chosen = query.range(visit.context.now())
    rows = await list_rejections(
        visit.context,
        found.id,
        query.query(since=chosen.since),
        limit=PAGE_SIZE + 1,
        below=record_id_of(visit.context, cursor),
    )
    groups = await summarize_rejections(visit.context, found.id, EventQuery(since=chosen.since))
    return await show_page(
        visit,
        found,
        "rejections.html",
        **pages.listed(visit.context, rows, lambda stored: (stored.id,), cursor),
        query=query,
        range=chosen,
        groups=groups,
        most=_GROUPS_ABOVE_LIST,
        reasons=sorted({*(group.reason for group in groups), *filter(None, [query.reason])}),
        mappings=await mapping_names(visit.context, found.id),
        days=visit.context.rejection_days,
    )


@router.get(PAGE + "/rejections/export")
@requires(Scope.EVENTS_READ)
async def export_rejections(
    visit: CurrentVisit, destination_id: str, query: Events, file_format: FileFormat
) -> Response:
    """Stream the complete filtered list as CSV or NDJSON."""
    wanted = query.query(since=query.range(visit.context.now()).since)
    page_at = partial(rejection_page, visit.context, destination_id, wanted)
    return await export(file_format, RejectionRecord, page_at, name="rejections")


@router.get(PAGE + "/journeys")
@requires(Scope.EVENTS_READ)
async def journeys(
    visit: CurrentVisit, found: CurrentDestination, range_name: RangeParameter = RangeName.DAY
) -> Response:
    """Show the figures of each journey node."""
    chosen = time_range(range_name, visit.context.now())
    figures = await read_journey_figures(visit.context, found.id, since=chosen.since)
    return await show_page(visit, found, "journeys.html", range=chosen, figures=figures)
