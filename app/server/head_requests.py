"""HEAD on every GET route: the same status and headers, no body (RFC 9110 §9.3.2)."""

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """An ASGI application that serves HEAD requests with the GET routes of `app`, without the bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                return
            await send({"type": "http.response.body", "body": b""})
            if message.get("more_body", False):
                raise ClientDisconnect  # ends a streamed response

        get_scope = {**scope, "method": "GET"}
        try:
            await self._app(get_scope, receive, send_without_body)
        finally:
            if "route" in get_scope:
                scope["route"] = get_scope["route"]  # for the metrics
