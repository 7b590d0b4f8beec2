"""Routes `POST /events` to its endpoint and everything else to the framework."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.request_body import PATH


class Shortcut:
    """ASGI: sends `POST /events` to the fast endpoint, everything else to the application."""

    def __init__(self, events_endpoint: ASGIApp, app: ASGIApp) -> None:
        self._events_endpoint = events_endpoint
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST":
            await self._events_endpoint(scope, receive, send)
        else:
            await self._app(scope, receive, send)
