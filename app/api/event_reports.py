"""Reports on events: the history of an event, the list of a destination, and its statistics."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.admin.access import Scope
from app.admin.destinations.stats import read_filtered_stats, read_stats
from app.admin.event_history import read_event_history
from app.admin.event_list import ListedEvent, list_destination_events
from app.admin.event_records import EventHistory
from app.admin.inputs import EventTypeName, Instant, ReasonName
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.event_models import FilteredStatsView, ListedEventsPage, StatsView
from app.api.event_pages import Dismissed
from app.api.export import EXPORTED, Format, page_or_export
from app.api.paging import PAGE, Cursor, Limit, cursor_of, event_place_of
from app.domain.event_query import EventQuery
from app.domain.outcomes.status import Status

router = APIRouter(route_class=SecuredRoute, tags=["events"])


@router.get("/events/{event_id:path}", summary="Read the history of an event")
@requires(Scope.EVENTS_READ)
async def read_event(
    event_id: str,
    caller: CurrentCaller,
    context: Context,
    destination_id: Annotated[str, Query(description="The destination it was sent to.")],
    mapping_id: Annotated[
        str | None, Query(description="Required when several mappings accepted this id.")
    ] = None,
) -> EventHistory:
    """Return the complete history of an event, and what to do about it. It contains no personal data."""
    return await read_event_history(context, caller, destination_id, event_id, mapping_id)


@router.get(
    "/destinations/{destination_id}/events",
    summary="List events",
    response_model=ListedEventsPage,
    responses=EXPORTED,
)
@requires(Scope.EVENTS_READ)
async def list_events(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    status: Annotated[Status | None, Query(description="Only events of this status.")] = None,
    reason: Annotated[ReasonName | None, Query(description="Only events with this reason.")] = None,
    since: Annotated[Instant | None, Query(description="Only events accepted at or after this time.")] = None,
    mapping_id: Annotated[
        str | None, Query(max_length=64, description="Only events of this mapping.")
    ] = None,
    execution_id: Annotated[
        str | None, Query(max_length=256, description="Only events of this journey execution.")
    ] = None,
    until: Annotated[Instant | None, Query(description="Only events accepted before this time.")] = None,
    journey_id: Annotated[
        str | None, Query(max_length=256, description="Only events of this journey.")
    ] = None,
    node_id: Annotated[
        str | None, Query(max_length=256, description="Only events of this journey node.")
    ] = None,
    event_type: Annotated[EventTypeName | None, Query(description="Only events of this type.")] = None,
    dismissed: Dismissed = None,
    export_format: Format = None,
    cursor: Cursor = None,
    limit: Limit = PAGE,
) -> ListedEventsPage | StreamingResponse:
    """List events, newest first. A page may be shorter than `limit` and still have a `next_cursor`.

    `unreadable_batches` counts damaged batches. Their events are missing from the page.
    """
    wanted = EventQuery(
        status=status,
        reason=reason,
        since=since,
        mapping_id=mapping_id,
        execution_id=execution_id,
        until=until,
        journey_id=journey_id,
        node_id=node_id,
        event_type=event_type,
        dismissed=dismissed,
    )

    async def page_at(position: str | None, most: int) -> ListedEventsPage:
        page = await list_destination_events(
            context, caller, destination_id, wanted, before=event_place_of(position), limit=most
        )
        return ListedEventsPage(
            items=page.items,
            next_cursor=cursor_of(*page.last_place) if page.last_place else None,
            unreadable_batches=page.unreadable_batches,
        )

    return await page_or_export(
        export_format, page_at, ListedEvent, name="events", cursor=cursor, limit=limit
    )


@router.get("/destinations/{destination_id}/stats", summary="Read the statistics")
@requires(Scope.DESTINATIONS_READ, Scope.EVENTS_READ)
async def stats(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    journey_id: Annotated[str | None, Query(max_length=256, description="Only this journey.")] = None,
    node_id: Annotated[str | None, Query(max_length=256, description="Only this journey node.")] = None,
    execution_id: Annotated[str | None, Query(max_length=256, description="Only this execution.")] = None,
) -> StatsView | FilteredStatsView:
    """Return counts by status, the backlog, and rates over five minutes. `accepted` is the sum of the counts.

    `match_key_coverage` describes the newest accepted events. It leaves out damaged batches, which
    `unreadable_batches` counts. With `journey_id`, `node_id` or `execution_id` the response has only the
    counts of that journey, node or execution.
    """
    if journey_id is None and node_id is None and execution_id is None:
        return StatsView.model_validate(await read_stats(context, caller, destination_id))
    wanted = EventQuery(journey_id=journey_id, node_id=node_id, execution_id=execution_id)
    return FilteredStatsView.model_validate(
        await read_filtered_stats(context, caller, destination_id, wanted)
    )
