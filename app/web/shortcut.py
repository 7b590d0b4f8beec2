"""The journey's door without the framework: plain `POST /events` goes straight to what its route does.

The framework's own work around a route (matching, dependencies, three layers of exceptions) costs four times
what one event costs here. A request with a query takes the framework's way, which reads and judges queries;
both ways call the same functions in the same order, and a test holds them to the same answers.
"""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web import events
from app.web.door import admit, scopes_of
from app.web.errors import Refusal, answer

_ROUTE: Final = next(route for route in events.router.routes if getattr(route, "path", "") == "/events")
_SCOPES: Final = scopes_of(events.post_events)


class Shortcut:
    """ASGI: takes `POST /events` without a query, and leaves everything else to the application behind it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["path"] != "/events"
            or scope["method"] != "POST"
            or scope["query_string"]
        ):
            await self._app(scope, receive, send)
            return
        scope["route"] = _ROUTE  # as the framework notes it, for the metrics
        request = Request(scope, receive)
        try:
            response = await admit(request, _SCOPES)
            if response is None:
                response = await events.take(request, request.app.state.wiring, request.state.caller)
        except Refusal as refusal:
            response = answer(refusal.problem)
        await response(scope, receive, send)
