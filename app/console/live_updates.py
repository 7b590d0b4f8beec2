"""Live updates by server-sent events.

The stream sends a page's panel again whenever the panel has changed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any, TypeVar

from starlette.responses import Response, StreamingResponse

from app.admin.refusals import Refusal
from app.console import pages
from app.console.access import sessions
from app.console.access.secured_page import Visit

POLL_INTERVAL_S = 2.0
STOP_CHECK_INTERVAL_S = 0.25  # how soon a stream ends when the process stops
MAX_DURATION_S = 300.0  # then the browser opens a new stream
MAX_STREAMS = 100  # each polls the database; further pages get no live updates

AnyVisit = TypeVar("AnyVisit", bound=Visit)
ReadPanel = Callable[[AnyVisit], Awaitable[dict[str, Any]]]
"""Return the content of a panel. If its member `final` is true, it is the last one. Raises Refusal."""


def streamed(
    visit: AnyVisit, template: str, read: ReadPanel[AnyVisit], *, every_s: float = POLL_INTERVAL_S
) -> Response:
    """Return the stream of a panel, for at most five minutes. Return 204 if too many streams are open."""
    if getattr(visit.request.app.state, "console_streams", 0) >= MAX_STREAMS:
        return Response(status_code=204)  # the page tries again, with growing intervals
    # A HEAD request gets the headers of GET without a body. It must not read the database for five minutes.
    content = _stream(visit, template, read, every_s) if visit.request.method == "GET" else iter(())
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(content, media_type="text/event-stream", headers=headers)


async def _stream(
    visit: AnyVisit, template: str, read: ReadPanel[AnyVisit], every_s: float
) -> AsyncIterator[str]:
    started_at, sent, state = monotonic(), "", visit.request.app.state
    state.console_streams = getattr(state, "console_streams", 0) + 1
    try:
        yield "retry: 3000\n\n"
        while monotonic() - started_at < MAX_DURATION_S:
            content = await _content(visit, read)
            if content is None:
                yield "event: gone\ndata:\n\n"
                return
            html = pages.part(template, visitor=visit.visitor, **content)
            if html != sent:
                sent = html
                lines = "\n".join(f"data: {line}" for line in sent.splitlines())
                yield f"event: panel\n{lines}\n\n"
            else:
                yield ": unchanged\n\n"
            if content.get("final"):
                yield "event: settled\ndata:\n\n"
                return
            polled_at = monotonic()
            while monotonic() - polled_at < every_s:
                stopping = getattr(state, "stopping", None)
                if stopping and stopping():  # the stream must not delay the stop of the process
                    return
                await asyncio.sleep(STOP_CHECK_INTERVAL_S)
    finally:
        state.console_streams -= 1


async def _content(visit: AnyVisit, read: ReadPanel[AnyVisit]) -> dict[str, Any] | None:
    """Return the content of a panel, or None if its session ended or what it shows was deleted."""
    # A poll does not count as activity, because an open page must not keep the session alive.
    if await sessions.visitor_of(visit.context, visit.request, note=False) is None:
        return None
    try:
        visit = await visit.renewed()
        return {**await visit.header(), **await read(visit)}
    except Refusal:
        return None
