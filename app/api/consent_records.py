"""Consent records over HTTP: the legal basis of each accepted event."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.consent_records import blocked_by_consent, list_consent_records
from app.admin.inputs import Instant
from app.api.json_response import ExactJsonResponse
from app.api.paging import PAGE, Cursor, Limit, cursor_of, event_place_of, partial_page
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires

router = APIRouter(route_class=SecuredRoute, tags=["events"])


@router.get("/destinations/{destination_id}/consent-records", summary="List consent records")
@requires(Scope.EVENTS_READ)
async def list_all(
    *,
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    since: Annotated[Instant | None, Query(description="Only events accepted at or after this time.")] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Response:
    """List a record for each accepted event, newest first. Records are kept for 30 days.

    A record has basis, source, times, decision, and the SHA-256 of a consent string. `stopped` counts the
    events that the consent check rejected, by reason and basis; nothing else of these is stored.
    `unreadable_batches` counts damaged batches, whose records are missing from the page.
    """
    page = await list_consent_records(
        context, caller, destination_id, limit=limit, before=event_place_of(cursor), since=since
    )
    blocked = await blocked_by_consent(context, caller, destination_id)
    next_cursor = cursor_of(*page.last) if page.last else None
    listed = partial_page([asdict(item) for item in page.items], next_cursor, page.unreadable_batches)
    return ExactJsonResponse({**listed, "stopped": [asdict(each) for each in blocked]})
