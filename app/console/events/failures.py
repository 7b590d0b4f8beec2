"""Pages of a destination about events that failed, about rejected events, and about journeys."""

from functools import partial

from starlette.responses import Response

from app.admin.access import Scope
from app.admin.events.failures import list_failures, list_rejections, summarize_rejections
from app.admin.events.journeys import read_journey_figures
from app.admin.events.search import mapping_names
from app.api.access.secured_route import requires
from app.api.events.pages import rejection_page
from app.api.export import export
from app.api.paging import PAGE as PAGE_SIZE
from app.api.paging import Cursor, record_id_of
from app.console import pages
from app.console.access.secured_page import CurrentDestination, CurrentVisit, page_router
from app.console.destinations.page import PAGE, show_page
from app.console.events.filter import Events, FileFormat
from app.console.time_range import RangeName, RangeParameter, time_range
from app.domain.event_query import EventQuery
from app.store.events.rejections import RejectionRecord

router = page_router()

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
        "events",
        "errors.html",
        query=query,
        range=chosen,
        failures=await list_failures(visit.context, visit.caller, found.id, since=chosen.since),
        groups=await summarize_rejections(
            visit.context, visit.caller, found.id, EventQuery(since=chosen.since)
        ),
        most=_MOST_GROUPS,
        mappings=await mapping_names(visit.context, visit.caller, found.id),
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
        visit.caller,
        found.id,
        query.query(since=chosen.since),
        limit=PAGE_SIZE + 1,
        below=record_id_of(visit.context, cursor),
    )
    groups = await summarize_rejections(visit.context, visit.caller, found.id, EventQuery(since=chosen.since))
    return await show_page(
        visit,
        found,
        "events",
        "rejections.html",
        **pages.listed(visit.context, rows, lambda stored: (stored.id,), cursor),
        query=query,
        range=chosen,
        groups=groups,
        most=_GROUPS_ABOVE_LIST,
        reasons=sorted({*(group.reason for group in groups), *filter(None, [query.reason])}),
        mappings=await mapping_names(visit.context, visit.caller, found.id),
        days=visit.context.rejection_days,
    )


@router.get(PAGE + "/rejections/export")
@requires(Scope.EVENTS_READ)
async def export_rejections(
    visit: CurrentVisit, destination_id: str, query: Events, file_format: FileFormat
) -> Response:
    """Stream the complete filtered list as CSV or NDJSON."""
    wanted = query.query(since=query.range(visit.context.now()).since)
    page_at = partial(rejection_page, visit.context, visit.caller, wanted, destination_id)
    return await export(file_format, RejectionRecord, page_at, name="rejections")


@router.get(PAGE + "/journeys")
@requires(Scope.EVENTS_READ)
async def journeys(
    visit: CurrentVisit, found: CurrentDestination, range_name: RangeParameter = RangeName.DAY
) -> Response:
    """Show the figures of each journey node."""
    chosen = time_range(range_name, visit.context.now())
    figures = await read_journey_figures(visit.context, visit.caller, found.id, since=chosen.since)
    return await show_page(visit, found, "events", "journeys.html", range=chosen, figures=figures)
