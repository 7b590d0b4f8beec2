"""Search over HTTP: accepted and rejected events of all visible destinations, newest first."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.admin.access import Scope
from app.admin.event_search import REJECTED, FoundEvent
from app.admin.inputs import REPORT_ONCE, EventTypeName, Instant, ReasonName
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.event_models import FoundEventsPage
from app.api.event_pages import Dismissed, search_page
from app.api.export import EXPORTED, Format, page_or_export
from app.api.paging import PAGE, Cursor, Limit
from app.domain.event_query import EventQuery
from app.domain.outcomes.status import Status

router = APIRouter(route_class=SecuredRoute, tags=["events"])

_Id = Annotated[str | None, Query(max_length=256)]


@router.get("/event-search", summary="Search events", response_model=FoundEventsPage, responses=EXPORTED)
@requires(Scope.EVENTS_READ)
async def search(
    *,
    caller: CurrentCaller,
    context: Context,
    q: Annotated[
        str | None,
        Query(
            max_length=256,
            description="An event id, execution id, journey id, node id, or request id (ours or Amazon's).",
        ),
    ] = None,
    destination_id: Annotated[
        str | None, Query(max_length=64, description="Only events of this destination.")
    ] = None,
    status: Annotated[
        Annotated[Status | Literal["rejected"], REPORT_ONCE] | None,
        Query(description="Only events of this status."),
    ] = None,
    reason: Annotated[ReasonName | None, Query(description="Only events with this reason.")] = None,
    event_type: Annotated[
        EventTypeName | None, Query(description="Only accepted events of this type.")
    ] = None,
    since: Annotated[Instant | None, Query(description="Only events received at or after this time.")] = None,
    until: Annotated[Instant | None, Query(description="Only events received before this time.")] = None,
    mapping_id: Annotated[
        str | None, Query(max_length=64, description="Only events of this mapping.")
    ] = None,
    execution_id: _Id = None,
    journey_id: _Id = None,
    node_id: _Id = None,
    dismissed: Dismissed = None,
    export_format: Format = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> FoundEventsPage | StreamingResponse:
    """Search accepted and rejected events of all destinations of the key, newest first.

    An event whose id is `q` is found at any age. All other matches are ordered by time. A page may be shorter
    than `limit` and still have a `next_cursor`. At most 600 rejected events per destination and minute are
    recorded, and only these are found.
    """
    rejected = None if status is None else status == REJECTED
    wanted = EventQuery(
        status=None if status == REJECTED else status,
        reason=reason,
        since=since,
        until=until,
        mapping_id=mapping_id,
        execution_id=execution_id,
        journey_id=journey_id,
        node_id=node_id,
        event_type=event_type,
        dismissed=dismissed,
        any_id=q,
    )
    page_at = partial(search_page, context, caller, wanted, destination_id, rejected)
    return await page_or_export(export_format, page_at, FoundEvent, name="events", cursor=cursor, limit=limit)
