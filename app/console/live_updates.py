"""Live updates by server-sent events.

The stream sends a page's panel again whenever the panel has changed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response, StreamingResponse

from app.admin.access import Scope
from app.admin.events.history import read_event_history
from app.admin.refusals import Refusal
from app.api.access.secured_route import requires
from app.console import pages
from app.console.access import sessions
from app.console.access.secured_page import CurrentDestination, CurrentVisit, Visit, page_router, polled
from app.console.destinations.activate import arrivals
from app.console.destinations.page import PAGE, content_of, panel_of
from app.console.events.history import event_content
from app.console.home import HomeParameters, home_content
from app.console.replays import replay_content
from app.console.time_range import RangeName, RangeParameter
from app.domain.ids import DestinationId
from app.store.destinations import destinations as stored

router = page_router()

POLL_INTERVAL_S = 2.0
HOME_POLL_INTERVAL_S = 5.0  # each poll reads all destinations
STOP_CHECK_INTERVAL_S = 0.25  # how soon a stream ends when the process stops
MAX_DURATION_S = 300.0  # then the browser opens a new stream
MAX_STREAMS = 100  # each polls the database; further pages get no live updates


@router.get("/console/live")
@requires(Scope.DESTINATIONS_READ)
@polled
async def live_home(visit: CurrentVisit, query: HomeParameters) -> Response:
    """Stream the home page while it is open, for at most five minutes."""

    async def read() -> Panel:
        content = await home_content(visit, query)
        return Panel(pages.part("home_part.html", visitor=visit.visitor, **content))

    return streamed(visit, read, every_s=HOME_POLL_INTERVAL_S)


@router.get(PAGE + "/live")
@requires(Scope.DESTINATIONS_READ)
@polled
async def live(
    visit: CurrentVisit, found: CurrentDestination, range_name: RangeParameter = RangeName.DAY
) -> Response:
    """Stream the panel of a destination while its page is open, for at most five minutes."""
    return streamed(visit, lambda: _panel(visit, found.id, range_name))


@router.get(PAGE + "/activate/live")
@requires(Scope.EVENTS_READ)
@polled
async def live_arrivals(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Stream the newest event of a destination and its newest rejection, for at most five minutes."""

    async def read() -> Panel:
        content = await arrivals(visit, found)
        return Panel(pages.part("arrivals_part.html", destination=found, **content))

    return streamed(visit, read)


@router.get(PAGE + "/event/live")
@requires(Scope.EVENTS_READ)
@polled
async def live_event(
    visit: CurrentVisit,
    found: CurrentDestination,
    id: Annotated[str, Query(max_length=600)],
    mapping: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Stream the history of an event until it is final, for at most five minutes."""

    async def read() -> Panel | None:
        try:
            history = await read_event_history(visit.context, found.id, id, mapping)
        except Refusal:
            return None  # erased or expired since the page was opened
        content = await event_content(visit, found, history)
        return Panel(pages.part("event_part.html", visitor=visit.visitor, **content), final=content["final"])

    return streamed(visit, read)


@router.get(PAGE + "/replays/{replay_id}/live")
@requires(Scope.EVENTS_READ, Scope.REPLAY)
@polled
async def live_replay(visit: CurrentVisit, found: CurrentDestination, replay_id: str) -> Response:
    """Stream the progress of a replay until no event waits, for at most five minutes."""
    await replay_content(visit, found, replay_id)  # 404 for a replay that does not exist

    async def read() -> Panel | None:
        try:
            content = await replay_content(visit, found, replay_id)
        except Refusal:
            return None
        return Panel(pages.part("replay_part.html", **content), final=content["replay"].is_final)

    return streamed(visit, read)


@dataclass(frozen=True, slots=True)
class Panel:
    """The current content of a page's panel. If it is `final`, it will not change again."""

    html: str
    final: bool = False


ReadPanel = Callable[[], Awaitable[Panel | None]]


def streamed(visit: Visit, read: ReadPanel, *, every_s: float = POLL_INTERVAL_S) -> Response:
    """Return the stream of a panel. Return 204 if too many streams are open."""
    if getattr(visit.request.app.state, "console_streams", 0) >= MAX_STREAMS:
        return Response(status_code=204)  # the page tries again, with growing intervals
    # A HEAD request gets the headers of GET without a body. It must not read the database for five minutes.
    content = _stream(visit, read, every_s) if visit.request.method == "GET" else _nothing()
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(content, media_type="text/event-stream", headers=headers)


async def _nothing() -> AsyncIterator[str]:
    yield ""


async def _stream(visit: Visit, read: ReadPanel, every_s: float) -> AsyncIterator[str]:
    started_at, sent, state = monotonic(), "", visit.request.app.state
    state.console_streams = getattr(state, "console_streams", 0) + 1
    try:
        yield "retry: 3000\n\n"
        while monotonic() - started_at < MAX_DURATION_S:
            # An expired session or a revoked key ends the stream. A poll does not count as activity, because
            # an open page must not keep the session alive.
            visitor = await sessions.visitor_of(visit.context, visit.request, note=False)
            panel = None if visitor is None else await read()
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
                if _is_stopping(visit.request):
                    return
                await asyncio.sleep(STOP_CHECK_INTERVAL_S)
    finally:
        state.console_streams -= 1


async def _panel(visit: Visit, destination: DestinationId, range_name: RangeName) -> Panel | None:
    async with visit.context.engine.connect() as connection:
        found = await stored.find(connection, destination)
    if found is None:
        return None
    panel = await panel_of(visit, found, range_name)
    content = {**await content_of(visit, found), **panel}
    return Panel(pages.part("panel_part.html", visitor=visit.visitor, **content))


def _is_stopping(request: Request) -> bool:
    """Return whether the process is stopping. A stream then ends, so that it does not delay the stop."""
    stopping = getattr(request.app.state, "stopping", None)
    return bool(stopping and stopping())
