"""The page of one event: its history."""

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.events.history import read_event_history
from app.admin.events.summary import REJECTED, EventHistory
from app.admin.mappings.payload_shape import payload_shape
from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import requires
from app.console.access.secured_page import CurrentDestination, CurrentVisit, Visit, page_router
from app.console.destinations.page import PAGE, content_of, diagnosis_of
from app.console.events import timeline
from app.console.wording import EVENT_STATUSES, person
from app.domain.outcomes.failure_cause import failure_cause
from app.domain.outcomes.status import FINAL
from app.store.destinations.destinations import Destination

router = page_router()


@router.get(PAGE + "/event")
@requires(Scope.EVENTS_READ)
async def event_page(
    visit: CurrentVisit,
    found: CurrentDestination,
    id: Annotated[str, Query(max_length=600)] = "",
    mapping: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Show the history of an event. Without an id, redirect to the list."""
    if not id.strip():
        return RedirectResponse(f"/console/destinations/{found.id}/events", 303)
    content = await content_of(visit, found)
    try:
        history = await read_event_history(visit.context, found.id, id, mapping)
    except Refusal as refusal:
        if refusal.problem.code is ErrorCode.NOT_FOUND:
            content |= {"id": id, "detail": refusal.problem.detail}
            return visit.show("event_missing.html", status=404, **content)
        if refusal.problem.code is ErrorCode.EVENT_AMBIGUOUS:
            ids = refusal.problem.extra["mapping_ids"]
            names = await visit.names(ids)
            choices = [(mapping_id, names[mapping_id]) for mapping_id in ids]
            return visit.show("event_choice.html", **content, id=id, choices=choices)
        raise
    if history.status == REJECTED:
        mappings = await visit.names(each.mapping_id for each in history.rejections)
        content |= {"history": history, "verdict": EVENT_STATUSES[history.status], "mappings": mappings}
        return visit.show("event_rejected.html", **content)
    return visit.show("event.html", **await event_content(visit, found, history))


async def event_content(visit: Visit, found: Destination, history: EventHistory) -> dict[str, Any]:
    """Return the content of an event's page, from its history."""
    # If an event waits, the cause is usually its destination, so the page shows the diagnosis of the
    # destination.
    is_final = history.status in FINAL
    explains_wait = not is_final and visit.caller.may(Scope.DESTINATIONS_READ)
    actors = [history.dismissed_by, *(replay.by for replay in history.replays)]
    names = await visit.names([history.mapping_id, *actors])
    mapping = names.get(history.mapping_id or "")
    return {
        **await content_of(visit, found),
        "history": history,
        "verdict": EVENT_STATUSES[history.status],
        "story": timeline.timeline(history, mapping, names),
        "mapping_name": mapping,
        "dismissed_by": person(history.dismissed_by, names) if history.dismissed_by else None,
        "shape": await payload_shape(
            visit.context, found, history.mapping_id, history.mapping_version, history.match_keys
        ),
        "warnings": timeline.warnings(history),
        "cause": failure_cause(history.amazon_code, history.amazon_message),
        "final": is_final,
        "diagnosis": await diagnosis_of(visit, found) if explains_wait else None,
    }
