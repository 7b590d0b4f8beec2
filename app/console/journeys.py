"""Journey page of a destination: accepted, rejected, delivered and dead events by journey and node."""

from fastapi import APIRouter
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.journey_figures import read_journey_figures
from app.api.access.secured_route import requires
from app.console import pages
from app.console.access.secured_page import CurrentDestination, CurrentVisit, SecuredPage
from app.console.destinations.page import PAGE, content_of
from app.console.time_range import RangeName, RangeParameter, time_range
from app.console.wording import number

router = APIRouter(route_class=SecuredPage, include_in_schema=False)


@router.get(PAGE + "/journeys", response_model=None)
@requires(Scope.EVENTS_READ)
async def page(
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
