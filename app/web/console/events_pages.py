"""Where did my event go? Lists by status, the trace of one, and the search over all destinations."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.domain.event_types import EVENT_TYPES
from app.domain.status import Status
from app.intake.judging import event_key
from app.store import ledger, observations
from app.web import destinations, mappings, tracing
from app.web.auth import Scope
from app.web.console import pages
from app.web.console import present_trace as present
from app.web.console.destination_page import PAGE, content_of
from app.web.console.entrance import Entrance, Visiting
from app.web.console.present_words import STATUSES
from app.web.console.visitors import Visitor
from app.web.door import Wired, needs
from app.web.errors import Refusal, Word
from app.web.wiring import Wiring

router = APIRouter(route_class=Entrance, include_in_schema=False)

_A_PAGE = 50


@router.get(PAGE + "/events", response_model=None)
@needs(Scope.EVENTS_READ)
async def list_events(
    *,
    request: Request,
    destination_id: str,
    wired: Wired,
    visitor: Visiting,
    status: Annotated[str, Query(max_length=20)] = "",
    reason: Annotated[str, Query(max_length=64)] = "",
    execution: Annotated[str, Query(max_length=128)] = "",
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """List a destination's events, newest first."""
    async with wired.engine.connect() as connection:
        found = await destinations.seen(connection, visitor.caller, destination_id)
    wanted = Status(status) if status in STATUSES else None
    answer = await tracing.list_events(
        destination_id,
        visitor.caller,
        wired,
        status=wanted,
        reason=reason or None,
        since=None,
        execution_id=execution or None,
        cursor=cursor,
        limit=_A_PAGE,
    )
    listed = pages.plain(answer)
    return pages.show(
        request,
        "events.html",
        **content_of(wired, found, visitor, "events"),
        items=listed["items"],
        next_cursor=listed["next_cursor"],
        chosen=status if wanted else "",
        reason=reason,
        execution=execution,
        statuses=STATUSES,
        types=EVENT_TYPES,
        later=cursor is not None,
    )


@router.get(PAGE + "/event", response_model=None)
@needs(Scope.EVENTS_READ)
async def trace(
    *,
    request: Request,
    destination_id: str,
    wired: Wired,
    visitor: Visiting,
    id: Annotated[str, Query(max_length=600)],  # noqa: A002
    mapping: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Tell everything that happened to one event."""
    async with wired.engine.connect() as connection:
        found = await destinations.seen(connection, visitor.caller, destination_id)
    content = content_of(wired, found, visitor, "events")
    listed = pages.plain(await mappings.list_all(destination_id, visitor.caller, wired))["items"]
    names = {one["id"]: one["name"] for one in listed}
    try:
        answer = await tracing.explain_event(id, visitor.caller, wired, destination_id, mapping)
    except Refusal as refusal:
        if refusal.problem.word is Word.NOT_FOUND:
            told = refusal.problem.detail
            return pages.show(request, "event_missing.html", status=404, **content, id=id, told=told)
        if refusal.problem.word is Word.EVENT_AMBIGUOUS:
            under = [(one, names.get(one, one)) for one in refusal.problem.extra["mapping_ids"]]
            return pages.show(request, "event_choice.html", **content, id=id, under=under)
        raise
    shown = pages.plain(answer)
    return pages.show(
        request,
        "event.html",
        **content,
        trace=shown,
        word=present.verdict(shown),
        story=present.story(shown, names.get(shown["mapping_id"])),
        warnings=present.warnings(shown),
        final=present.is_final(shown),
    )


@router.get("/console/events", response_model=None)
@needs(Scope.EVENTS_READ)
async def search(
    request: Request, wired: Wired, visitor: Visiting, q: Annotated[str, Query(max_length=600)] = ""
) -> Response:
    """Find an event by its id, whatever destination it was sent to."""
    wanted = q.strip()
    found = await _find(wired, visitor, wanted) if wanted else []
    return pages.show(request, "search.html", q=wanted, found=found)


async def _find(wired: Wiring, visitor: Visitor, event_id: str) -> list[dict[str, Any]]:
    """Return where an event id was accepted: the same keys that the door would look for."""
    async with wired.pool.acquire() as connection:
        known = await observations.every_mapping(connection, visitor.caller.only)
        keys = {
            event_key(destination, mapping, event_id): (destination, name, mapping)
            for destination, name, mapping in known
        }
        generation = await ledger.current_generation(connection)
        places = await ledger.find(connection, generation, list(keys))
    return [
        {"destination_id": keys[key][0], "name": keys[key][1], "mapping_id": keys[key][2]} for key in places
    ]
