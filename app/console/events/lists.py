"""Lists of events: of one destination, search, live tail, failed events, rejected events, and journeys.

Their filter is that of the API with a time range, and what links between pages add.
"""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Depends, Query
from pydantic import Field, StringConstraints
from starlette.responses import RedirectResponse, Response

from app.admin import ErrorCode, Refusal, Scope
from app.admin.destinations import destination_names
from app.admin.events.figures import list_failures, read_journey_figures, summarize_rejections
from app.admin.events.search import EventPage, mapping_names, search_events
from app.admin.events.summary import REJECTED, EventSummary
from app.api.events.filters import JOURNEY_LABELS, Id, MixedFilter
from app.api.lists import ExportFormat, ListQuery, cursor_of, export
from app.api.pages import event_page, rejection_page
from app.console.live_updates import open_streams, streamed
from app.console.time_range import PARAMETER, RangeName, RangeParameter, TimeRange, time_range
from app.console.visits import PAGE, CurrentDestination, CurrentVisit, PageRouter, Paging, Visit
from app.domain.event_query import EventQuery
from app.store.events.rejections import RejectionRecord

router = PageRouter()

_TAIL_ROWS: Final = 60


Word = Annotated[str, Field(max_length=64)]


class ConsoleFilter(MixedFilter):
    """The query parameters of an event page. A reason that does not exist finds no event."""

    reason: Word | None = None
    field: Id | None = None
    cause: Word | None = None  # of a group on the page of failures
    day: date | None = None  # the range begins with this day (UTC)
    range_name: RangeName | None = Field(default=RangeName.MONTH, alias=PARAMETER)

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The query parameters that are not empty."""
        chosen = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return [
            (name, str(value).lower() if isinstance(value, bool) else value)
            for name, given in chosen.items()
            for value in (given if isinstance(given, list) else [given])
            if value != ""
        ]

    @property
    def is_empty(self) -> bool:
        """Whether nothing but the time range is chosen."""
        return all(name == PARAMETER for name, _ in self.parameters)

    @property
    def journey_fields(self) -> list[tuple[str, str, str]]:
        """Name, label and value of the form fields for the ids of journey, node and execution."""
        return [(name, label, getattr(self, name) or "") for name, label in JOURNEY_LABELS.items()]

    def range(self, now: datetime) -> TimeRange:
        """Return the time range that ends now."""
        chosen = time_range(self.range_name or RangeName.MONTH, now)
        since = datetime.combine(self.day, time(), UTC) if self.day else self.since
        return replace(chosen, since=since) if since else chosen


class SearchForm(ConsoleFilter):
    """The query parameters of a page about the events of all destinations."""

    q: Annotated[str, StringConstraints(strip_whitespace=True, max_length=256)] | None = None
    destination: Word | None = None


def _file_format(format: ExportFormat = ExportFormat.CSV) -> ExportFormat:
    return format


# Annotated types for the parameters of routes.
Events = Annotated[ConsoleFilter, Query()]
Search = Annotated[SearchForm, Query()]
FileFormat = Annotated[ExportFormat, Depends(_file_format)]


@router.get(PAGE + "/events", Scope.EVENTS_READ)
async def list_events(visit: CurrentDestination, query: Events, paging: Paging) -> Response:
    """List a destination's events, accepted and rejected, newest first."""
    chosen = query.range(visit.context.now())
    wanted, before = query.query(since=chosen.since), paging.search_position
    listed = await search_events(
        visit.context, wanted, destination_id=visit.destination.id, before=before, limit=paging.limit
    )
    return await visit.show(
        "events.html",
        **_content(visit, query, chosen, listed),
        selectable=query.status in ("dead", "expired"),
        replay_parameters=[pair for pair in query.parameters if pair[0] != "field"],  # of rejections only
        mappings=await mapping_names(*visit.on),
    )


@router.get(PAGE + "/events/export", Scope.EVENTS_READ)
async def export_events(visit: CurrentDestination, query: Events, file_format: FileFormat) -> Response:
    """Stream the complete filtered list as CSV or NDJSON."""
    wanted = query.query(since=query.range(visit.context.now()).since)
    page_at = partial(event_page, visit.destination.id, wanted)
    return await export(file_format, EventSummary, page_at, ListQuery(visit.context), name="events")


@router.get("/console/events", Scope.EVENTS_READ)
async def search(visit: CurrentVisit, query: Search, paging: Paging) -> Response:
    """Find events of all visible destinations. If only one event has this id, open its page immediately."""
    chosen = query.range(visit.context.now())
    wanted, before = query.query(since=chosen.since, any_id=query.q or None), paging.search_position
    result = EventPage([], None)
    try:
        result = await search_events(
            visit.context, wanted, destination_id=query.destination, before=before, limit=paging.limit
        )
    except Refusal as refusal:  # no such destination, for this visitor
        if refusal.problem.code is not ErrorCode.NOT_FOUND:
            raise
    if (only := _only_event(result)) is not None:
        return RedirectResponse(_event_address(only), 303)
    return await visit.show(
        "search.html",
        **_content(visit, query, chosen, result),
        destinations=await destination_names(visit.context),
    )


@router.get("/console/tail", Scope.EVENTS_READ)
async def tail(visit: CurrentVisit, query: Search) -> Response:
    """Show the newest events, without values. Scripts keep the page current."""
    return await visit.show(
        "tail.html",
        **await _newest(visit, query),
        destinations=await destination_names(visit.context),
        stream=f"/console/tail/live?{urlencode(query.parameters)}",
        rows_shown=_TAIL_ROWS,
    )


@router.get("/console/tail/live", Scope.EVENTS_READ)
async def live_tail(visit: CurrentVisit, query: Search) -> Response:
    """Stream the newest events while the page is open."""
    async with open_streams(visit).polls:
        await _newest(visit, query)  # refuses what the page refuses
    return streamed(visit, "tail_part.html", lambda current: _newest(current, query))


async def _newest(visit: Visit, query: SearchForm) -> dict[str, Any]:
    wanted = query.query(any_id=query.q or None)
    found = await search_events(visit.context, wanted, destination_id=query.destination, limit=_TAIL_ROWS)
    return _content(visit, query, query.range(visit.context.now()), found)


def _content(visit: Visit, query: ConsoleFilter, chosen: TimeRange, found: EventPage) -> dict[str, Any]:
    """Return the content of a list of events."""
    return {
        "query": query,
        "range": chosen,
        "searched": chosen.part_since(found.back_to),
        "next_cursor": cursor_of(visit.context, *found.following) if found.following else None,
        "found": found,
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


@router.get(PAGE + "/errors", Scope.EVENTS_READ)
async def errors(visit: CurrentDestination, query: Events) -> Response:
    """Group dead, expired and rejected events by what went wrong."""
    chosen = query.range(visit.context.now())
    return await visit.show(
        "errors.html",
        query=query,
        range=chosen,
        failures=await list_failures(*visit.on, since=chosen.since),
        groups=await summarize_rejections(*visit.on, EventQuery(since=chosen.since)),
        most=_MOST_GROUPS,
        mappings=await mapping_names(*visit.on),
    )


@router.get(PAGE + "/rejections", Scope.EVENTS_READ)
async def rejections(visit: CurrentDestination, query: Events, paging: Paging) -> Response:
    """List rejected events, newest first, below their counts."""
    chosen = query.range(visit.context.now())
    page = await rejection_page(visit.destination.id, query.query(since=chosen.since), paging)
    groups = await summarize_rejections(*visit.on, EventQuery(since=chosen.since))
    return await visit.show(
        "rejections.html",
        items=page.items,
        next_cursor=page.next_cursor,
        query=query,
        range=chosen,
        groups=groups,
        most=_GROUPS_ABOVE_LIST,
        reasons=sorted({*(group.reason for group in groups), *filter(None, [query.reason])}),
        mappings=await mapping_names(*visit.on),
    )


@router.get(PAGE + "/rejections/export", Scope.EVENTS_READ)
async def export_rejections(visit: CurrentDestination, query: Events, file_format: FileFormat) -> Response:
    """Stream the complete filtered list as CSV or NDJSON."""
    wanted = query.query(since=query.range(visit.context.now()).since)
    page_at = partial(rejection_page, visit.destination.id, wanted)
    return await export(file_format, RejectionRecord, page_at, ListQuery(visit.context), name="rejections")


@router.get(PAGE + "/journeys", Scope.EVENTS_READ)
async def journeys(visit: CurrentDestination, range_name: RangeParameter = RangeName.DAY) -> Response:
    """Show the figures of each journey node."""
    chosen = time_range(range_name, visit.context.now())
    figures = await read_journey_figures(*visit.on, since=chosen.since)
    return await visit.show("journeys.html", range=chosen, figures=figures)
