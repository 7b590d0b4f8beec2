"""Consent records over HTTP: the legal basis of each accepted event."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.admin.access import Scope
from app.admin.inputs import Instant
from app.admin.privacy.consent_records import ConsentRecord, blocked_by_consent, list_consent_records
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.export import EXPORTED, Listed
from app.api.paging import Page, cursor_of, event_place_of
from app.store.counts import ConsentStops

router = APIRouter(route_class=SecuredRoute, tags=["events"])


class ConsentRecordPage(Page[ConsentRecord]):
    """A page of consent records, and the events that were blocked."""

    unreadable_batches: int
    stopped: Sequence[ConsentStops]


@router.get(
    "/destinations/{destination_id}/consent-records",
    summary="List consent records",
    response_model=ConsentRecordPage,
    responses=EXPORTED,
)
@requires(Scope.EVENTS_READ, Scope.ERASE)
async def list_all(
    *,
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    since: Annotated[Instant | None, Query(description="Only events accepted at or after this time.")] = None,
    listing: Listed,
) -> ConsentRecordPage | StreamingResponse:
    """List a record for each accepted event, newest first. Records are kept for 30 days.

    A record has the legal basis, its source, the times, the decision, and the SHA-256 of a consent string.
    `stopped` counts the events that the consent check rejected, by reason and basis. Nothing else about
    rejected events is stored. `unreadable_batches` counts damaged batches; their records are missing from the
    page.
    """

    async def page_at(position: str | None, most: int) -> ConsentRecordPage:
        page = await list_consent_records(
            context, caller, destination_id, limit=most, before=event_place_of(context, position), since=since
        )
        # The page has these counts. An export has only records.
        blocked = () if listing.export_format else await blocked_by_consent(context, caller, destination_id)
        return ConsentRecordPage(
            items=page.items,
            next_cursor=cursor_of(context, *page.last) if page.last else None,
            unreadable_batches=page.unreadable_batches,
            stopped=blocked,
        )

    return await listing.answer(ConsentRecord, page_at, name="consent-records")
