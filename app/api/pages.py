"""Pages of events, rejected events, consent records and administrative actions, for lists and exports."""

from collections.abc import Sequence
from datetime import datetime

from app.admin.audit import list_audit, number_of_entry
from app.admin.events.figures import list_rejections
from app.admin.events.search import search_events
from app.admin.events.summary import EventSummary
from app.admin.privacy.consent_records import ConsentRecord, list_consent_records
from app.api.lists import BatchPage, ListQuery, Page, cursor_of
from app.domain.event_query import EventQuery
from app.store.audit import AuditEntry, AuditFilter
from app.store.counts import ConsentStops
from app.store.events.rejections import RejectionRecord


class EventSummaryPage(BatchPage[EventSummary]):
    """A page of events, newest first."""

    unreadable_batches: int
    """The number of damaged batches. Their events are missing from the page."""
    searched_back_to: datetime | None
    """The search covered accepted events back to this time."""


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


class RejectionPage(Page[RejectionRecord]):
    """A page of rejected events, newest first."""


async def rejection_page(destination_id: str, wanted: EventQuery, paging: ListQuery) -> RejectionPage:
    """Return a page of the rejected events of a destination. Raises Refusal (404, 422)."""
    context, below = paging.context, paging.record_id
    rows = await list_rejections(context, destination_id, wanted, limit=paging.most, below=below)
    return RejectionPage(**paging.listed(rows, lambda record: (record.id,)))


class ConsentRecordPage(BatchPage[ConsentRecord]):
    """A page of consent records, and the events that were blocked."""

    stopped: Sequence[ConsentStops]


async def consent_page(
    destination_id: str, since: datetime | None, stopped: Sequence[ConsentStops], paging: ListQuery
) -> ConsentRecordPage:
    """Return a page of the consent records of a destination, newest first. Raises Refusal (404, 422)."""
    context, before = paging.context, paging.event_place
    page = await list_consent_records(context, destination_id, limit=paging.limit, before=before, since=since)
    return ConsentRecordPage(
        items=page.items,
        next_cursor=cursor_of(context, *page.following) if page.following else None,
        unreadable_batches=page.unreadable_batches,
        stopped=stopped,
    )


class AuditPage(Page[AuditEntry]):
    """A page of administrative actions."""


async def audit_page(wanted: AuditFilter, paging: ListQuery) -> AuditPage:
    """Return a page of the actions that a caller may see, newest first. Raises Refusal (422)."""
    context, below = paging.context, paging.record_id
    rows = await list_audit(context, limit=paging.most, below=below, wanted=wanted)
    return AuditPage(**paging.listed(rows, lambda entry: (number_of_entry(context, entry),)))
