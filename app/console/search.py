"""Search page over all destinations: an event by its id, or the events of a journey execution."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.event_search import ExecutionSearch, find_event, find_execution
from app.api.secured_route import Context, requires
from app.console import pages
from app.console.secured_page import CurrentVisitor, SecuredPage
from app.console.wording import number
from app.domain.conversion.event_types import EVENT_TYPES
from app.domain.ids import BatchId

router = APIRouter(route_class=SecuredPage, include_in_schema=False)


@router.get("/console/events", response_model=None)
@requires(Scope.EVENTS_READ)
async def search(
    request: Request,
    context: Context,
    visitor: CurrentVisitor,
    q: Annotated[str, Query(max_length=600)] = "",
    before: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
) -> Response:
    """Find an event by its id, else the events of a journey execution, in all visible destinations."""
    wanted = q.strip()
    mappings = await find_event(context, visitor.caller, wanted) if wanted and before is None else []
    result = ExecutionSearch()
    if wanted and not mappings:
        position = None if before is None else BatchId(before)
        result = await find_execution(context, visitor.caller, wanted, position)
    return pages.show(
        request,
        "search.html",
        q=wanted,
        mappings=mappings,
        result=result,
        events=number(result.events),
        continued=before is not None,
        types=EVENT_TYPES,
    )
