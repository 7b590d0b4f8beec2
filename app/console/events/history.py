"""The page of one event: its history."""

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.events.history import read_event_history
from app.admin.events.summary import REJECTED, EventHistory
from app.admin.refusals import ErrorCode, Refusal
from app.console.access.secured_page import PageRouter
from app.console.destinations.page import diagnosis_of
from app.console.destinations.visit import PAGE, CurrentDestination, DestinationVisit
from app.console.events import timeline
from app.console.live_updates import streamed
from app.console.wording import person
from app.domain.outcomes.failure_cause import failure_cause
from app.domain.outcomes.status import FINAL

router = PageRouter()

EventId = Annotated[str, Query(max_length=600)]
MappingId = Annotated[str | None, Query(max_length=64)]


@router.get(PAGE + "/event", Scope.EVENTS_READ)
async def event_page(visit: CurrentDestination, id: EventId = "", mapping: MappingId = None) -> Response:
    """Show the history of an event. Without an id, redirect to the list."""
    if not id.strip():
        return RedirectResponse(f"{visit.here}/events", 303)
    try:
        history = await read_event_history(*visit.on, id, mapping)
    except Refusal as refusal:
        if refusal.problem.code is ErrorCode.NOT_FOUND:
            return await visit.show("event_missing.html", status=404, id=id, detail=refusal.problem.detail)
        if refusal.problem.code is ErrorCode.EVENT_AMBIGUOUS:
            ids = refusal.problem.extra["mapping_ids"]
            names = await visit.names(ids)
            choices = [(mapping_id, names[mapping_id]) for mapping_id in ids]
            return await visit.show("event_choice.html", id=id, choices=choices)
        raise
    if history.status == REJECTED:
        mappings = await visit.names(each.mapping_id for each in history.rejections)
        return await visit.show("event_rejected.html", history=history, mappings=mappings)
    return await visit.show("event.html", **await _content(visit, history))


@router.get(PAGE + "/event/live", Scope.EVENTS_READ)
async def live(visit: CurrentDestination, id: EventId, mapping: MappingId = None) -> Response:
    """Stream the history of an event while the page is open, until it is final."""

    async def read(current: DestinationVisit) -> dict[str, Any]:
        return await _content(current, await read_event_history(*current.on, id, mapping))

    return streamed(visit, "event_part.html", read)


async def _content(visit: DestinationVisit, history: EventHistory) -> dict[str, Any]:
    """Return the content of an event's page, from its history."""
    # If an event waits, the cause is usually its destination, so the page shows the diagnosis of the
    # destination.
    is_final = history.status in FINAL
    explains_wait = not is_final and visit.caller.may(Scope.DESTINATIONS_READ)
    actors = [history.dismissed_by, *(replay.by for replay in history.replays)]
    names = await visit.names([history.mapping_id, *actors])
    mapping = names.get(history.mapping_id or "")
    return {
        "history": history,
        "story": timeline.timeline(history, mapping, names),
        "mapping_name": mapping,
        "dismissed_by": person(history.dismissed_by, names) if history.dismissed_by else None,
        "warnings": timeline.warnings(history),
        "cause": failure_cause(history.amazon_code, history.amazon_message),
        "final": is_final,
        "diagnosis": await diagnosis_of(visit) if explains_wait else None,
    }
