"""Journey page of a destination: accepted, rejected, delivered and dead events by journey and node."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.destinations import find_visible
from app.admin.journey_figures import read_journey_figures
from app.api.secured_route import Context, requires
from app.console import pages
from app.console.destination import PAGE, content_of
from app.console.secured_page import CurrentVisitor, SecuredPage
from app.console.time_range import RangeName, RangeParameter, time_range
from app.console.wording import number

router = APIRouter(route_class=SecuredPage, include_in_schema=False)


@router.get(PAGE + "/journeys", response_model=None)
@requires(Scope.EVENTS_READ)
async def page(
    request: Request,
    destination_id: str,
    context: Context,
    visitor: CurrentVisitor,
    range_name: RangeParameter = RangeName.DAY,
) -> Response:
    """Show the figures of each journey node."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    chosen = time_range(range_name, context.now())
    figures = await read_journey_figures(context, visitor.caller, destination_id, since=chosen.since)
    return pages.show(
        request,
        "journeys.html",
        **content_of(context, found, visitor, "events"),
        range=chosen,
        figures=figures,
        number=number,
    )
