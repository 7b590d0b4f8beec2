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
from app.admin.event_history import read_event_history
from app.admin.refusals import Refusal
from app.api.secured_route import Context, requires
from app.console import pages, sessions
from app.console.destination import PAGE, content_of, panel_of
from app.console.events import event_content
from app.console.home import Health, PageNumber, Search, home_content
from app.console.replay import replay_content
from app.console.secured_page import CurrentVisitor, SecuredPage
from app.console.sessions import Visitor
from app.console.time_range import RangeName, RangeParameter
from app.domain.ids import DestinationId
from app.store import destinations as stored
from app.store.destination_health import Sort

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

POLL_INTERVAL_S = 2.0
HOME_POLL_INTERVAL_S = 5.0  # each poll reads all destinations
STOP_CHECK_INTERVAL_S = 0.25  # how soon a stream ends when the process stops
MAX_DURATION_S = 300.0  # then the browser opens a new stream
MAX_STREAMS = 100  # each polls the database; further pages get no live updates


@router.get("/console/live", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def live_home(
    request: Request,
    context: Context,
    visitor: CurrentVisitor,
    q: Search = "",
    health: Health = None,
    sort: Sort = Sort.TROUBLE,
    page: PageNumber = 1,
    range_name: RangeParameter = RangeName.DAY,
) -> Response:
    """Stream the home page while it is open, for at most five minutes."""

    async def read() -> Panel:
        content = await home_content(context, visitor, q, health, sort, page, range_name)
        return Panel(pages.part("home_part.html", visitor=visitor, **content))

    return streamed(request, context, read, every_s=HOME_POLL_INTERVAL_S)


@router.get(PAGE + "/live", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def live(
    request: Request,
    destination_id: str,
    context: Context,
    visitor: CurrentVisitor,
    range_name: RangeParameter = RangeName.DAY,
) -> Response:
    """Stream the panel of a destination while its page is open, for at most five minutes."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    return streamed(request, context, lambda: _panel(context, visitor, found.id, range_name))


@router.get(PAGE + "/event/live", response_model=None)
@requires(Scope.EVENTS_READ)
async def live_event(
    *,
    request: Request,
    destination_id: str,
    context: Context,
    visitor: CurrentVisitor,
    id: Annotated[str, Query(max_length=600)],
    mapping: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Stream the history of an event until it is final, for at most five minutes."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)

    async def read() -> Panel | None:
        try:
            history = await read_event_history(context, visitor.caller, found.id, id, mapping)
        except Refusal:
            return None  # erased or expired since the page was opened
        content = await event_content(context, visitor, found, history)
        return Panel(pages.part("event_part.html", visitor=visitor, **content), final=content["final"])

    return streamed(request, context, read)


@router.get(PAGE + "/replays/{replay_id}/live", response_model=None)
@requires(Scope.EVENTS_READ, Scope.REPLAY)
async def live_replay(
    request: Request, destination_id: str, replay_id: str, context: Context, visitor: CurrentVisitor
) -> Response:
    """Stream the progress of a replay until no event waits, for at most five minutes."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    await replay_content(context, visitor, found, replay_id)  # 404 for a replay that does not exist

    async def read() -> Panel | None:
        try:
            content = await replay_content(context, visitor, found, replay_id)
        except Refusal:
            return None
        return Panel(pages.part("replay_part.html", **content), final=content["replay"].is_final)

    return streamed(request, context, read)


@dataclass(frozen=True, slots=True)
class Panel:
    """The current content of a page's panel. A `final` panel does not change any more."""

    html: str
    final: bool = False


ReadPanel = Callable[[], Awaitable[Panel | None]]


def streamed(
    request: Request, context: AppContext, read: ReadPanel, *, every_s: float = POLL_INTERVAL_S
) -> Response:
    """Return the stream of a panel, or 204 if too many are open."""
    if getattr(request.app.state, "console_streams", 0) >= MAX_STREAMS:
        return Response(status_code=204)  # the page tries again, with growing intervals
    # HEAD has the headers of GET and no body: it must not read the database for five minutes.
    content = _stream(request, context, read, every_s) if request.method == "GET" else _nothing()
    return StreamingResponse(
        content,
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _nothing() -> AsyncIterator[str]:
    yield ""


async def _stream(
    request: Request, context: AppContext, read: ReadPanel, every_s: float
) -> AsyncIterator[str]:
    started_at, sent, state = monotonic(), "", request.app.state
    state.console_streams = getattr(state, "console_streams", 0) + 1
    try:
        yield "retry: 3000\n\n"
        while monotonic() - started_at < MAX_DURATION_S:
            # An expired session or a revoked key ends the stream. A poll is not activity: an open page must
            # not keep the session alive.
            if await sessions.visitor_of(context, request, note=False) is None:
                yield "event: gone\ndata:\n\n"
                return
            panel = await read()
            if panel is None:
                yield "event: gone\ndata:\n\n"
                return
            if panel.html != sent:
                sent = panel.html
                lines = "\n".join(f"data: {line}" for line in sent.splitlines())
                yield f"event: panel\n{lines}\n\n"
            else:
                yield ": unchanged\n\n"
            if panel.final:
                yield "event: settled\ndata:\n\n"
                return
            polled_at = monotonic()
            while monotonic() - polled_at < every_s:
                if _is_stopping(request):
                    return
                await asyncio.sleep(STOP_CHECK_INTERVAL_S)
    finally:
        state.console_streams -= 1


async def _panel(
    context: AppContext, visitor: Visitor, destination: DestinationId, range_name: RangeName
) -> Panel | None:
    async with context.engine.connect() as connection:
        found = await stored.find(connection, destination)
    if found is None:
        return None
    panel = await panel_of(context, visitor, found, range_name)
    content = {**content_of(context, found, visitor, "overview"), **panel}
    return Panel(pages.part("panel_part.html", visitor=visitor, **content))


def _is_stopping(request: Request) -> bool:
    """Return whether the process is stopping; streams end so that they do not delay it."""
    stopping = getattr(request.app.state, "stopping", None)
    return bool(stopping and stopping())
