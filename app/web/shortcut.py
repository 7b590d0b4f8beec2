"""The application's entrance: plain posts of events go past the framework, everything else through it.

The server takes that way for itself (`app.web.connections`); this one is for other callers of ASGI.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.incoming import PATH
from app.web.posting import Posting, all_headers


class Shortcut:
    """ASGI: answers `POST /events` without a query, and leaves everything else to the application behind."""

    def __init__(self, posting: Posting, app: ASGIApp) -> None:
        self._posting = posting
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["path"] != PATH
            or scope["method"] != "POST"
            or scope["query_string"]
        ):
            await self._app(scope, receive, send)
            return
        reply = await self._posting.answer(scope["headers"], receive)
        if reply is not None:
            await send({"type": "http.response.start", "status": reply.status, "headers": all_headers(reply)})
            await send({"type": "http.response.body", "body": reply.body})
