"""Pages of events, rejected events and administrative actions. The API's lists, and all exports, use them."""

from app.admin.audit import list_audit, number_of_entry
from app.admin.events.figures import list_rejections
from app.admin.events.search import search_events
from app.api.events.models import EventSummaryPage, RejectionPage
from app.api.paging import ListQuery, Page, cursor_of
from app.domain.event_query import EventQuery
from app.store.audit import AuditEntry, AuditFilter


async def event_page(destination_id: str | None, wanted: EventQuery, paging: ListQuery) -> EventSummaryPage:
    """Return a page of events of one or all visible destinations. Raises Refusal (404, 422)."""
    context, before = paging.context, paging.search_position
    found = await search_events(
        context, wanted, destination_id=destination_id, before=before, limit=paging.limit
    )
    return EventSummaryPage(
        items=list(found.items),
        next_cursor=cursor_of(context, *found.following) if found.following else None,
        unreadable_batches=found.unreadable_batches,
        searched_back_to=found.back_to,
    )


async def rejection_page(destination_id: str, wanted: EventQuery, paging: ListQuery) -> RejectionPage:
    """Return a page of the rejected events of a destination. Raises Refusal (404, 422)."""
    context, below = paging.context, paging.record_id
    rows = await list_rejections(context, destination_id, wanted, limit=paging.most, below=below)
    return paging.page(RejectionPage, rows, lambda record: (record.id,))


class AuditPage(Page[AuditEntry]):
    """A page of administrative actions."""


async def audit_page(wanted: AuditFilter, paging: ListQuery) -> AuditPage:
    """Return a page of the actions that a caller may see, newest first. Raises Refusal (422)."""
    context, below = paging.context, paging.record_id
    rows = await list_audit(context, limit=paging.most, below=below, wanted=wanted)
    return paging.page(AuditPage, rows, lambda entry: (number_of_entry(context, entry),))
