"""Consent records over HTTP: the legal basis of each accepted event."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.admin.access import Scope
from app.admin.consent_records import blocked_by_consent, list_consent_records
from app.admin.inputs import Instant
from app.api.export import EXPORTED, Format, page_or_export
from app.api.paging import PAGE, Cursor, Limit, Page, cursor_of, event_place_of
from app.api.response_body import ResponseBody
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires

router = APIRouter(route_class=SecuredRoute, tags=["events"])


class ConsentRecordView(ResponseBody):
    """The consent of one accepted event."""

    event_id: str
    event_at: datetime
    accepted_at: datetime
    mapping_id: str | None
    mapping_version: int
    basis: str = Field(description="The mapping's consent mode.")
    source: str | None = Field(description="The path it was read from.")
    decision: Literal["granted", "passed_on", "not_required"]
    signal: str | None = Field(description="User data / ad storage.")
    string_sha256: str | None


class BlockedEvents(ResponseBody):
    """Events that the consent check rejected for one reason on one basis."""

    reason: str
    basis: str | None
    events: int


class ConsentRecordPage(Page[ConsentRecordView]):
    """A page of consent records, and the events that were blocked."""

    unreadable_batches: int
    stopped: list[BlockedEvents]


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
    export_format: Format = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> ConsentRecordPage | StreamingResponse:
    """List a record for each accepted event, newest first. Records are kept for 30 days.

    A record has basis, source, times, decision, and the SHA-256 of a consent string. `stopped` counts the
    events that the consent check rejected, by reason and basis; nothing else of these is stored.
    `unreadable_batches` counts damaged batches, whose records are missing from the page.
    """

    async def page_at(position: str | None, most: int) -> ConsentRecordPage:
        page = await list_consent_records(
            context, caller, destination_id, limit=most, before=event_place_of(position), since=since
        )
        # The counts belong to the page; an export has records only.
        blocked = () if export_format else await blocked_by_consent(context, caller, destination_id)
        return ConsentRecordPage(
            items=[ConsentRecordView.model_validate(item) for item in page.items],
            next_cursor=cursor_of(*page.last) if page.last else None,
            unreadable_batches=page.unreadable_batches,
            stopped=[BlockedEvents.model_validate(each) for each in blocked],
        )

    return await page_or_export(
        export_format, page_at, ConsentRecordView, name="consent-records", cursor=cursor, limit=limit
    )
