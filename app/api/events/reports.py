"""Reports on events: history, lists, search, rejections, and statistics."""

from functools import partial
from typing import Annotated

from fastapi import Query
from fastapi.responses import StreamingResponse

from app.admin import Scope
from app.admin.destinations import stats as use_cases
from app.admin.events.figures import summarize_rejections
from app.admin.events.history import read_event_history
from app.admin.events.summary import REJECTED, EventHistory, EventSummary
from app.api.access.secured_route import ONE, Context, OnDestination, SecuredRouter
from app.api.events.filters import JourneyFilter, MixedFilter, RecordFilter, RejectionFilter, SearchFilter
from app.api.lists import Listing, Page, Paging
from app.api.pages import EventSummaryPage, RejectionPage, event_page, rejection_page
from app.store.events.rejections import RejectionRecord, RejectionSummary

router = SecuredRouter("events")


@router.get("/events/{event_id:path}", Scope.EVENTS_READ, summary="Read the history of an event")
async def read_event(
    context: Context,
    event_id: str,
    destination_id: Annotated[str, Query(description="The destination it was sent to.")],
    mapping_id: Annotated[
        str | None, Query(description="Required when several mappings accepted this id.")
    ] = None,
) -> EventHistory:
    """Return the complete history of an event, and what to do about it. It contains no personal data."""
    return await read_event_history(context, destination_id, event_id, mapping_id)


@router.get(ONE + "/events", Scope.EVENTS_READ, summary="List events")
async def list_events(
    destination_id: str, wanted: Annotated[MixedFilter, Query()], listing: Listing
) -> EventSummaryPage | StreamingResponse:
    """List accepted events, newest first, or with `status=rejected` rejected ones.

    A page may be shorter than `limit` and still have a `next_cursor`.
    `unreadable_batches` counts damaged batches. Their events are missing from the page.
    """
    page_at = partial(event_page, destination_id, wanted.query(rejected=wanted.status == REJECTED))
    return await listing.answer(EventSummary, page_at, name="events")


@router.get("/event-search", Scope.EVENTS_READ, summary="Search events")
async def search(
    wanted: Annotated[SearchFilter, Query()], listing: Listing
) -> EventSummaryPage | StreamingResponse:
    """Search accepted and rejected events of all destinations of the key, newest first.

    An event whose id is `q` is found at any age. All other matches are ordered by time. A page may be shorter
    than `limit` and still have a `next_cursor`. At most 600 rejected events per destination and minute are
    recorded, and only these are found.
    """
    page_at = partial(event_page, wanted.destination_id, wanted.query(any_id=wanted.q))
    return await listing.answer(EventSummary, page_at, name="events")


class RejectionSummaryPage(Page[RejectionSummary]):
    """Exact counts of rejected events, most frequent first."""


@router.get(ONE + "/rejections/summary", Scope.EVENTS_READ, summary="Count rejected events")
async def rejection_summary(
    on: OnDestination, wanted: Annotated[RejectionFilter, Query()], paging: Paging
) -> RejectionSummaryPage:
    """Count rejected events by reason, mapping and source path. The counts include every rejected event.

    `since` and `until` select whole days (UTC), both included. With `execution_id`, `journey_id` or
    `node_id`, only recorded events are counted: at most 600 per destination and minute. `since` and `until`
    then are exact times.
    """
    return paging.part(RejectionSummaryPage, await summarize_rejections(*on, wanted.query()))


@router.get(ONE + "/rejections", Scope.EVENTS_READ, summary="List rejected events")
async def list_rejections(
    destination_id: str, wanted: Annotated[RecordFilter, Query()], listing: Listing
) -> RejectionPage | StreamingResponse:
    """List rejected events, newest first. At most 600 per destination and minute are recorded.

    A record contains ids, codes and paths of the mapping. It contains no values from the event.
    """
    page_at = partial(rejection_page, destination_id, wanted.query())
    return await listing.answer(RejectionRecord, page_at, name="rejections")


@router.get(ONE + "/stats", Scope.DESTINATIONS_READ, Scope.EVENTS_READ, summary="Read the statistics")
async def stats(
    on: OnDestination, wanted: Annotated[JourneyFilter, Query()]
) -> use_cases.DestinationStats | use_cases.JourneyStats | use_cases.ExecutionStats:
    """Return counts by status, the backlog, and rates over five minutes. `accepted` is the sum of the counts.

    `match_key_coverage` describes the newest accepted events. It leaves out damaged batches, which
    `unreadable_batches` counts. With `journey_id`, `node_id` or `execution_id` the response has only the
    counts of that journey, node or execution.
    """
    query = wanted.query()
    if not query.journey:
        return await use_cases.read_stats(*on)
    return await use_cases.read_filtered_stats(*on, query)
