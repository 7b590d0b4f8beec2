"""Pages of found events and of rejected events. The lists of the API, and all exports, use them."""

from typing import Annotated

from fastapi import Query

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.event_search import search_events
from app.admin.rejections import list_rejections
from app.api.event_models import FoundEventsPage, RejectionView
from app.api.paging import Page, cursor_of, record_id_of, search_position_of, split_page
from app.domain.event_query import EventQuery
from app.store.rejection_records import RejectionFilter

Dismissed = Annotated[bool | None, Query(description="Only dismissed dead letters, or only other events.")]


class RejectionPage(Page[RejectionView]):
    """A page of rejected events, newest first."""


async def rejection_page(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    wanted: RejectionFilter,
    cursor: str | None,
    limit: int,
) -> RejectionPage:
    """Return a page of the rejected events of a destination. Raises Refusal (404, 422)."""
    below = record_id_of(cursor)
    rows = await list_rejections(context, caller, destination_id, wanted, limit=limit + 1, below=below)
    items, next_cursor = split_page(rows, limit, lambda entry: (entry.record.id,))
    return RejectionPage(items=[RejectionView.of(item) for item in items], next_cursor=next_cursor)


async def search_page(
    context: AppContext,
    caller: Caller,
    wanted: EventQuery,
    destination_id: str | None,
    rejected: bool | None,
    cursor: str | None,
    limit: int,
) -> FoundEventsPage:
    """Return a page of the events that the use case `search_events` finds. Raises Refusal (404, 422)."""
    found = await search_events(
        context,
        caller,
        wanted,
        destination_id=destination_id,
        rejected=rejected,
        before=search_position_of(cursor),
        limit=limit,
    )
    return FoundEventsPage(
        items=list(found.items),
        next_cursor=cursor_of(*found.following) if found.following else None,
        unreadable_batches=found.unreadable_batches,
        searched_back_to=found.back_to,
    )
