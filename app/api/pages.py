"""Pages of events, rejected events and administrative actions. The API's lists, and all exports, use them."""

from app.admin.audit import list_audit, number_of_entry
from app.admin.context import AppContext
from app.admin.events.figures import list_rejections
from app.admin.events.search import search_events
from app.api.events.models import EventSummaryPage, RejectionPage
from app.api.paging import Page, cursor_of, record_id_of, search_position_of, split_page
from app.domain.event_query import EventQuery
from app.store.audit import AuditEntry, AuditFilter


async def event_page(
    context: AppContext, destination_id: str | None, wanted: EventQuery, cursor: str | None, limit: int
) -> EventSummaryPage:
    """Return a page of events of one or all visible destinations. Raises Refusal (404, 422)."""
    before = search_position_of(context, cursor)
    found = await search_events(context, wanted, destination_id=destination_id, before=before, limit=limit)
    return EventSummaryPage(
        items=list(found.items),
        next_cursor=cursor_of(context, *found.following) if found.following else None,
        unreadable_batches=found.unreadable_batches,
        searched_back_to=found.back_to,
    )


async def rejection_page(
    context: AppContext, destination_id: str, wanted: EventQuery, cursor: str | None, limit: int
) -> RejectionPage:
    """Return a page of the rejected events of a destination. Raises Refusal (404, 422)."""
    below = record_id_of(context, cursor)
    rows = await list_rejections(context, destination_id, wanted, limit=limit + 1, below=below)
    items, next_cursor = split_page(context, rows, limit, lambda record: (record.id,))
    return RejectionPage(items=list(items), next_cursor=next_cursor)


class AuditPage(Page[AuditEntry]):
    """A page of administrative actions."""


async def audit_page(context: AppContext, wanted: AuditFilter, cursor: str | None, limit: int) -> AuditPage:
    """Return a page of the actions that a caller may see, newest first. Raises Refusal (422)."""
    rows = await list_audit(context, limit=limit + 1, below=record_id_of(context, cursor), wanted=wanted)
    items, next_cursor = split_page(context, rows, limit, lambda entry: (number_of_entry(context, entry),))
    return AuditPage(items=list(items), next_cursor=next_cursor)
