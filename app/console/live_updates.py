"""Live updates by server-sent events.

The stream sends a page's panel again whenever the panel has changed.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeVar

from starlette.responses import Response, StreamingResponse

from app.admin import Refusal
from app.console import pages
from app.console.access import sessions
from app.console.visits import Visit
from app.domain.ids import OrganisationId

POLL_INTERVAL_S = 2.0
STOP_CHECK_INTERVAL_S = 0.25  # how soon a stream ends when the process stops
MAX_DURATION_S = 300.0  # then the browser opens a new stream
MAX_STREAMS = 100  # each polls the database; further pages get no live updates
# In progress at a time. The connections to the database that remain are for all other requests.
_MAX_POLLS: Final = 3

AnyVisit = TypeVar("AnyVisit", bound=Visit)
ReadPanel = Callable[[AnyVisit], Awaitable[dict[str, Any]]]
"""Return the content of a panel. If its member `final` is true, it is the last one. Raises Refusal."""


@dataclass(slots=True)
class OpenStreams:
    """The open streams of a process by organisation, and a semaphore that each poll of them holds."""

    by_organisation: Counter[OrganisationId] = field(default_factory=Counter)
    polls: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MAX_POLLS))

    def has_room(self, organisation: OrganisationId) -> bool:
        """Return whether an organisation may open a stream: always if it has less than an equal share."""
        share = MAX_STREAMS // len(self.by_organisation.keys() | {organisation})
        return self.by_organisation.total() < MAX_STREAMS or self.by_organisation[organisation] < share

    @contextmanager
    def counting(self, organisation: OrganisationId) -> Iterator[None]:
        """Count a stream of an organisation until the block ends."""
        self.by_organisation[organisation] += 1
        try:
            yield
        finally:
            self.by_organisation[organisation] -= 1
            if not self.by_organisation[organisation]:
                del self.by_organisation[organisation]


def open_streams(visit: Visit) -> OpenStreams:
    """Return the open streams of the process that serves this visit."""
    state = visit.request.app.state
    if not hasattr(state, "console_streams"):
        state.console_streams = OpenStreams()
    found: OpenStreams = state.console_streams
    return found


def streamed(
    visit: AnyVisit, template: str, read: ReadPanel[AnyVisit], *, every_s: float = POLL_INTERVAL_S
) -> Response:
    """Return the stream of a panel, for at most five minutes. Return 204 if too many streams are open."""
    if not open_streams(visit).has_room(visit.caller.organisation):
        return Response(status_code=204)  # the page tries again, with growing intervals
    # A HEAD request gets the headers of GET without a body. It must not read the database for five minutes.
    content = _stream(visit, template, read, every_s) if visit.request.method == "GET" else iter(())
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(content, media_type="text/event-stream", headers=headers)


async def _stream(
    visit: AnyVisit, template: str, read: ReadPanel[AnyVisit], every_s: float
) -> AsyncIterator[str]:
    started_at, sent, streams = monotonic(), "", open_streams(visit)
    with streams.counting(visit.caller.organisation):
        yield "retry: 3000\n\n"
        while monotonic() - started_at < MAX_DURATION_S:
            async with streams.polls:
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
                if visit.request.app.state.stopping():  # the stream must not delay the stop of the process
                    return
                await asyncio.sleep(STOP_CHECK_INTERVAL_S)


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
