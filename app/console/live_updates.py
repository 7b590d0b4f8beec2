"""Live updates by server-sent events: a page's panel, sent again when it has changed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.refusals import Refusal
from app.api import event_reports
from app.api.secured_route import Context, requires
from app.console import pages, sessions
from app.console.destination import PAGE, content_of, panel_of
from app.console.events import event_content
from app.console.secured_page import CurrentVisitor, SecuredPage
from app.console.sessions import Visitor
from app.domain.ids import DestinationId
from app.store import destinations as stored

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

LOOKED_EVERY_S = 2.0
NOTICED_EVERY_S = 0.25  # how soon a stream ends when the process is told to stop
LASTS_S = 300.0  # then the browser opens a new one
MOST_STREAMS = 100  # each looks at the database: more viewers than that read the page as it was


@router.get(PAGE + "/live", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def live(request: Request, destination_id: str, context: Context, visitor: CurrentVisitor) -> Response:
    """Stream the panel while the page is open, at most five minutes."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    return _streamed(request, context, lambda: _panel(context, visitor, found.id))


@router.get(PAGE + "/event/live", response_model=None)
@requires(Scope.EVENTS_READ)
async def live_event(
    *,
    request: Request,
    destination_id: str,
    context: Context,
    visitor: CurrentVisitor,
    id: Annotated[str, Query(max_length=600)],  # noqa: A002
    mapping: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Stream what happens to one event until nothing will happen any more, at most five minutes."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)

    async def look() -> Panel | None:
        try:
            answer = await event_reports.read_event(id, visitor.caller, context, found.id, mapping)
        except Refusal:
            return None  # erased or aged away meanwhile: the page says so itself
        told = await event_content(context, visitor, found, pages.plain(answer))
        return Panel(pages.part("event_part.html", visitor=visitor, **told), last=told["final"])

    return _streamed(request, context, look)


@dataclass(frozen=True, slots=True)
class Panel:
    """What a page shows now. After the `last` one nothing will change any more."""

    html: str
    last: bool = False


Look = Callable[[], Awaitable[Panel | None]]


def _streamed(request: Request, context: AppContext, look: Look) -> Response:
    if getattr(request.app.state, "console_streams", 0) >= MOST_STREAMS:
        return Response(status_code=204)  # no stream: the page asks again, less and less often
    return StreamingResponse(
        _stream(request, context, look),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _stream(request: Request, context: AppContext, look: Look) -> AsyncIterator[str]:
    began, sent, state = monotonic(), "", request.app.state
    state.console_streams = getattr(state, "console_streams", 0) + 1
    try:
        yield "retry: 3000\n\n"
        while monotonic() - began < LASTS_S:
            # A session that ended, or a key that was revoked, ends the stream as it ends every page.
            # Looking on is no use of it: an open page must not keep a session from growing idle.
            if await sessions.visitor_of(context, request, note=False) is None:
                yield "event: gone\ndata:\n\n"
                return
            panel = await look()
            if panel is None:
                yield "event: gone\ndata:\n\n"
                return
            if panel.html != sent:
                sent = panel.html
                lines = "\n".join(f"data: {line}" for line in sent.splitlines())
                yield f"event: panel\n{lines}\n\n"
            else:
                yield ": nothing new\n\n"
            if panel.last:
                yield "event: settled\ndata:\n\n"
                return
            looked = monotonic()
            while monotonic() - looked < LOOKED_EVERY_S:
                if _ending(request):
                    return
                await asyncio.sleep(NOTICED_EVERY_S)
    finally:
        state.console_streams -= 1


async def _panel(context: AppContext, visitor: Visitor, destination: DestinationId) -> Panel | None:
    async with context.engine.connect() as connection:
        found = await stored.find(connection, destination)
    if found is None:
        return None
    content = {**content_of(context, found, visitor, "overview"), **await panel_of(context, visitor, found)}
    return Panel(pages.part("panel_part.html", visitor=visitor, **content))


def _ending(request: Request) -> bool:
    """Return whether the process was told to stop: a stream must not keep it from doing so."""
    asked = getattr(request.app.state, "stopping", None)
    return bool(asked and asked())
