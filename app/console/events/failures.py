"""Pages of a destination about events that failed, about rejected events, and about journeys."""

from functools import partial

from fastapi import APIRouter
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.events.failures import list_failures, list_rejections, summarize_rejections
from app.admin.events.journeys import read_journey_figures
from app.admin.events.search import mapping_names
from app.api.access.secured_route import requires
from app.api.events.pages import rejection_page
from app.api.export import export
from app.api.paging import Cursor, record_id_of, split_page
from app.console import pages
from app.console.access.secured_page import CurrentDestination, CurrentVisit, SecuredPage
from app.console.destinations.page import PAGE, content_of
from app.console.events.filter import Events, FileFormat
from app.console.time_range import RangeName, RangeParameter, time_range
from app.console.wording import EVENT_STATUSES, number
from app.console.wording import events as event_count
from app.domain.event_query import EventQuery
from app.domain.outcomes.reasons import REASONS
from app.store.events.rejections import RejectionRecord

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_PAGE_SIZE = 50
_MOST_GROUPS = 50
_GROUPS_ABOVE_LIST = 15


@router.get(PAGE + "/errors", response_model=None)
@requires(Scope.EVENTS_READ)
async def errors(visit: CurrentVisit, found: CurrentDestination, query: Events) -> Response:
    """Group dead, expired and rejected events by what went wrong."""
    chosen = query.range(visit.context.now())
    groups = await summarize_rejections(visit.context, visit.caller, found.id, EventQuery(since=chosen.since))
    return pages.show(
        visit.request,
        "errors.html",
        **content_of(visit, found, "events"),
        query=query,
        range=chosen,
        failures=await list_failures(visit.context, visit.caller, found.id, since=chosen.since),
        groups=groups[:_MOST_GROUPS],
        more=number(len(groups) - _MOST_GROUPS) if len(groups) > _MOST_GROUPS else None,
        mappings=await mapping_names(visit.context, visit.caller, found.id),
        remedies={word: reason.remedy for word, reason in REASONS.items()},
        statuses=EVENT_STATUSES,
        number=number,
        event_count=event_count,
    )


@router.get(PAGE + "/rejections", response_model=None)
@requires(Scope.EVENTS_READ)
async def rejections(
    visit: CurrentVisit, found: CurrentDestination, query: Events, cursor: Cursor = None
) -> Response:
    """List rejected events, newest first, below their counts."""
    chosen = query.range(visit.context.now())
    rows = await list_rejections(
        visit.context,
        visit.caller,
        found.id,
        query.query(since=chosen.since),
        limit=_PAGE_SIZE + 1,
        below=record_id_of(cursor),
    )
    items, next_cursor = split_page(rows, _PAGE_SIZE, lambda stored: (stored.id,))
    groups = await summarize_rejections(visit.context, visit.caller, found.id, EventQuery(since=chosen.since))
    return pages.show(
        visit.request,
        "rejections.html",
        **content_of(visit, found, "events"),
        query=query,
        range=chosen,
        items=[stored.record for stored in items],
        groups=groups[:_GROUPS_ABOVE_LIST],
        more=number(len(groups) - _GROUPS_ABOVE_LIST) if len(groups) > _GROUPS_ABOVE_LIST else None,
        reasons=sorted({group.reason for group in groups} | ({query.reason} if query.reason else set())),
        total=number(sum(group.count for group in groups)),
        mappings=await mapping_names(visit.context, visit.caller, found.id),
        days=visit.context.rejection_days,
        number=number,
        event_count=event_count,
        next_cursor=next_cursor,
        later=cursor is not None,
    )


@router.get(PAGE + "/rejections/export", response_model=None)
@requires(Scope.EVENTS_READ)
async def export_rejections(
    visit: CurrentVisit, destination_id: str, query: Events, file_format: FileFormat
) -> Response:
    """Stream the complete filtered list as CSV or NDJSON."""
    wanted = query.query(since=query.range(visit.context.now()).since)
    page_at = partial(rejection_page, visit.context, visit.caller, wanted, destination_id)
    return await export(file_format, RejectionRecord, page_at, name="rejections")


@router.get(PAGE + "/journeys", response_model=None)
@requires(Scope.EVENTS_READ)
async def journeys(
    visit: CurrentVisit, found: CurrentDestination, range_name: RangeParameter = RangeName.DAY
) -> Response:
    """Show the figures of each journey node."""
    chosen = time_range(range_name, visit.context.now())
    figures = await read_journey_figures(visit.context, visit.caller, found.id, since=chosen.since)
    return pages.show(
        visit.request,
        "journeys.html",
        **content_of(visit, found, "events"),
        range=chosen,
        figures=figures,
        number=number,
    )
