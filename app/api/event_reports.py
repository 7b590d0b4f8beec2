"""Reports on accepted events: the history of one, lists of a destination, and its statistics."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.admin.access import Caller, Scope
from app.admin.context import AppContext
from app.admin.destination_stats import destination_stats
from app.admin.event_list import EventFilter, find_visible_row
from app.admin.event_list import list_events as page_of_events
from app.admin.inputs import Instant
from app.admin.journey_stats import journey_counts_of
from app.admin.refusals import ErrorCode, Refusal
from app.api.event_history import (
    EventLocation,
    history,
    history_of_duplicate,
    rejected_history,
    rejections_of,
)
from app.api.event_models import EventHistoryView, ListedEventsPage, ListedEventView, StatsView
from app.api.export import ROWS, ExportPage, Format, export
from app.api.paging import PAGE, Cursor, Limit, cursor_of, event_place_of
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.ledger_keys import event_key
from app.domain.outcomes.status import Status
from app.store import event_attempts, event_history, ledger

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
) -> EventHistoryView:
    """Return everything that happened to one event and what to do about it. Contains no personal data."""
    await context.write_rejections()
    async with (
        context.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        destination = await find_visible_row(connection, caller, destination_id)
        mappings = await event_history.mappings(connection, destination.id)
        keys = {
            event_key(destination.id, mapping, event_id): mapping
            for mapping, _ in mappings.values()
            if mapping_id in (None, mapping)
        }
        generation = await ledger.current_generation(connection)
        found = await ledger.find(connection, generation, list(keys))
        places = {key: (row.batch, row.place) for key, row in found.items()}
        if not found:
            duplicates = {
                row.key: row for row in await event_attempts.mapped_duplicates(connection, list(keys))
            }
            places = {key: (row.batch, row.place) for key, row in duplicates.items()}
        rejections = await rejections_of(connection, destination.number, event_id, mapping_id)
        if not places and rejections:
            return rejected_history(destination.id, event_id, mapping_id, rejections)
        if not places:
            raise Refusal(ErrorCode.NOT_FOUND, "This destination accepted no event with this id.")
        if len(places) > 1:
            raise Refusal(ErrorCode.EVENT_AMBIGUOUS, None, mapping_ids=sorted(keys[key] for key in places))
        ((key, (batch, place)),) = places.items()
        location = EventLocation(event_id, keys[key], batch, place)
        if found:
            accepted = await history(connection, context, destination, location, mappings)
            return accepted.model_copy(update={"rejections": rejections})
        return await history_of_duplicate(connection, context, caller, destination, location, duplicates[key])


@router.get("/destinations/{destination_id}/events", summary="List events", response_model=ListedEventsPage)
@requires(Scope.EVENTS_READ)
async def list_events(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    status: Annotated[Status | None, Query(description="Only events of this status.")] = None,
    reason: Annotated[str | None, Query(max_length=64, description="Only events with this reason.")] = None,
    since: Annotated[Instant | None, Query(description="Only events accepted at or after this time.")] = None,
    mapping_id: Annotated[
        str | None, Query(max_length=64, description="Only events of this mapping.")
    ] = None,
    execution_id: Annotated[
        str | None, Query(max_length=128, description="Only events of this journey execution.")
    ] = None,
    until: Annotated[Instant | None, Query(description="Only events accepted before this time.")] = None,
    journey_id: Annotated[
        str | None, Query(max_length=128, description="Only events of this journey.")
    ] = None,
    node_id: Annotated[
        str | None, Query(max_length=128, description="Only events of this journey node.")
    ] = None,
    export_format: Format = None,
    cursor: Cursor = None,
    limit: Limit = PAGE,
) -> ListedEventsPage | StreamingResponse:
    """List events, newest first. A page may be short and still have a `next_cursor`.

    `unreadable_batches` counts damaged batches, whose events are missing from the page.
    """
    wanted = EventFilter(
        status=status,
        reason=reason,
        since=since,
        mapping_id=mapping_id,
        execution_id=execution_id,
        until=until,
        journey_id=journey_id,
        node_id=node_id,
    )

    async def page_at(position: str | None, most: int) -> ListedEventsPage:
        return await _events_page(context, caller, destination_id, wanted, cursor=position, limit=most)

    if export_format is None:
        return await page_at(cursor, limit)

    async def fetch(position: str | None) -> ExportPage:
        page = await page_at(position, ROWS)
        return ExportPage(page.items, page.next_cursor)

    return await export(export_format, ListedEventView, fetch, name="events", cursor=cursor)


async def _events_page(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    wanted: EventFilter,
    *,
    cursor: str | None,
    limit: int,
) -> ListedEventsPage:
    before = event_place_of(cursor)
    async with (
        context.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        destination = await find_visible_row(connection, caller, destination_id)
        page = await page_of_events(connection, destination, wanted, before=before, limit=limit)
    return ListedEventsPage(
        items=[ListedEventView.model_validate(item) for item in page.items],
        next_cursor=cursor_of(*page.last_place) if page.last_place else None,
        unreadable_batches=page.unreadable_batches,
    )


@router.get("/destinations/{destination_id}/stats", summary="Read the statistics")
@requires(Scope.DESTINATIONS_READ, Scope.EVENTS_READ)
async def stats(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    journey_id: Annotated[
        str | None, Query(max_length=128, description="`counts` of this journey only.")
    ] = None,
    node_id: Annotated[
        str | None, Query(max_length=128, description="`counts` of this journey node only.")
    ] = None,
) -> StatsView:
    """Return counts by status (they add up to `accepted`), the backlog, and rates over five minutes.

    `match_key_coverage` describes the newest accepted events; `unreadable_batches` counts the damaged batches
    that it leaves out. With `journey_id` or `node_id`, `counts` are those of the journey or node; duplicates
    are not counted there.
    """
    async with context.pool.acquire() as connection:
        destination = await find_visible_row(connection, caller, destination_id)
        stats = await destination_stats(connection, destination, max_event_age=context.max_event_age)
        if journey_id is not None or node_id is not None:
            counts = await journey_counts_of(connection, destination, journey_id=journey_id, node_id=node_id)
            stats = replace(stats, counts=counts)
    return StatsView.model_validate(stats)
