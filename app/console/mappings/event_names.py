"""Pages of pinned event names: a list by advertiser and event type, and a rename with its effects (R12)."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.mappings.event_names import list_pinned_names, preview_rename, rename_event
from app.admin.refusals import Refusal
from app.api.errors import status_of
from app.api.paging import bad_cursor, place_of
from app.console.access.secured_page import CurrentVisit, Form, PageRouter, Paging

router = PageRouter()

_PAGE = "/console/event-names"
_NAME = _PAGE + "/{advertiser_id}/{event_type}"


@router.get(_PAGE, Scope.DESTINATIONS_READ)
async def page(
    visit: CurrentVisit, paging: Paging, q: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """List pinned names by advertiser and event type."""
    place = place_of(visit.context, paging.cursor)
    if place is not None and len(place) != 2:
        raise bad_cursor()
    after = (place[0], place[1]) if place else None
    found = await list_pinned_names(visit.context, limit=paging.most, after=after, search=q.strip() or None)
    content = visit.listed(found, lambda pin: (pin.advertiser_id, pin.event_type), paging)
    return await visit.show("event_names.html", **content, q=q)


@router.get(_NAME, Scope.DESTINATIONS_READ)
async def name_page(visit: CurrentVisit, advertiser_id: str, event_type: str) -> Response:
    """Show a pinned name, the mappings that use it, and the form that renames it."""
    impact = await preview_rename(visit.context, advertiser_id, event_type)
    return await visit.show("event_name.html", impact=impact, to=visit.typed.get("to", ""))


@router.post(_NAME, Scope.DESTINATIONS_WRITE)
async def rename(visit: CurrentVisit, advertiser_id: str, event_type: str, form: Form) -> Response:
    """Rename the event type and republish the mappings that send it."""
    try:
        renamed = await rename_event(visit.context, advertiser_id, event_type, form.text("to"))
    except Refusal as refusal:
        if status_of(refusal.problem) != 422:
            raise
        return await name_page(visit.refused(refusal), advertiser_id, event_type)
    if renamed.name == renamed.previous_name:
        return visit.done("event_name_kept", _NAME)
    return visit.done("event_renamed", _NAME, len(renamed.mappings))
