"""Rejected events over HTTP: a list of records without values, and exact counts."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.admin.access import Scope
from app.admin.inputs import Instant, ReasonName
from app.admin.rejections import summarize_rejections
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.event_models import RejectionView
from app.api.event_pages import RejectionPage, rejection_page
from app.api.export import EXPORTED, Format, page_or_export
from app.api.paging import PAGE, Cursor, Limit, Page, slice_page
from app.store.rejection_records import RejectionFilter, RejectionSummary

router = APIRouter(route_class=SecuredRoute, tags=["events"])


class RejectionSummaryPage(Page[RejectionSummary]):
    """Exact counts of rejected events, most frequent first."""


_Text = Annotated[str | None, Query(max_length=256)]


@router.get("/destinations/{destination_id}/rejections/summary", summary="Count rejected events")
@requires(Scope.EVENTS_READ)
async def summary(
    *,
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    since: Annotated[Instant | None, Query(description="First day (UTC).")] = None,
    until: Annotated[Instant | None, Query(description="Last day (UTC), included.")] = None,
    reason: ReasonName | None = None,
    field: _Text = None,
    mapping_id: _Text = None,
    execution_id: _Text = None,
    journey_id: _Text = None,
    node_id: _Text = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> RejectionSummaryPage:
    """Count rejected events by reason, mapping and source path. The counts include every rejected event.

    With `execution_id`, `journey_id` or `node_id`, only recorded events are counted: at most 600 per
    destination and minute. `since` and `until` then are exact times.
    """
    wanted = RejectionFilter(since, until, reason, field, mapping_id, execution_id, journey_id, node_id)
    rows = await summarize_rejections(context, caller, destination_id, wanted)
    shown, next_cursor = slice_page(rows, limit, cursor)
    return RejectionSummaryPage(items=shown, next_cursor=next_cursor)


@router.get(
    "/destinations/{destination_id}/rejections",
    summary="List rejected events",
    response_model=RejectionPage,
    responses=EXPORTED,
)
@requires(Scope.EVENTS_READ)
async def list_rejections(
    *,
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    since: Annotated[Instant | None, Query(description="Only events received at or after this time.")] = None,
    until: Annotated[Instant | None, Query(description="Only events received before this time.")] = None,
    reason: ReasonName | None = None,
    field: _Text = None,
    mapping_id: _Text = None,
    execution_id: _Text = None,
    journey_id: _Text = None,
    node_id: _Text = None,
    event_id: _Text = None,
    request_id: _Text = None,
    export_format: Format = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> RejectionPage | StreamingResponse:
    """List rejected events, newest first. At most 600 per destination and minute are recorded.

    A record contains ids, codes and paths of the mapping. It contains no values from the event.
    """
    wanted = RejectionFilter(
        since, until, reason, field, mapping_id, execution_id, journey_id, node_id, event_id, request_id
    )
    page_at = partial(rejection_page, context, caller, destination_id, wanted)
    return await page_or_export(
        export_format, page_at, RejectionView, name="rejections", cursor=cursor, limit=limit
    )
