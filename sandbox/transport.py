"""Reading requests and answering them, including the ways in which a server can fail to answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.vocabulary import Code

HANG_UP: Final = "sandbox.hang_up"
MAX_FORM: Final = 64 * 1024
_CHUNK: Final = 64 * 1024
_THROWN_AWAY: Final = 64 * 1024 * 1024


class ConnectionDropped(Exception):
    """Raised to the caller where there is no connection to close: under an in-process transport."""


class TooLarge(Exception):
    """The body is larger than the sandbox takes."""


@dataclass(slots=True)
class HangUpDoor:
    """The outermost layer: lets a response close the connection without a byte.

    ASGI has no message for that. uvicorn's `send` is a bound method of its request cycle, which knows the
    transport; both of its HTTP implementations keep it under that name. Aborting it and waiting for the
    disconnect lets uvicorn see a client that went away, so it neither answers 500 nor logs an error.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":

            async def hang_up() -> None:
                transport = getattr(getattr(send, "__self__", None), "transport", None)
                if transport is None:
                    raise ConnectionDropped
                transport.abort()
                await gone(receive)

            scope[HANG_UP] = hang_up
        await self.app(scope, receive, send)


async def gone(receive: Receive) -> None:
    """Wait until the client has gone, however long that takes."""
    while (await receive())["type"] != "http.disconnect":
        pass


class HangUp(Response):
    """Close the connection without answering."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope[HANG_UP]()


class Silence(Response):
    """Never answer: hold the connection until the client gives up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await gone(receive)


class Half(Response):
    """Promise the whole body, send half of it, and close the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await scope[HANG_UP]()


class Flood(Response):
    """Send `megabytes` of a body that never makes sense."""

    megabytes = 64

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        chunk: Message = {"type": "http.response.body", "body": b"[" * _CHUNK, "more_body": True}
        for _ in range(self.megabytes * 1024 * 1024 // _CHUNK):
            await send(chunk)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def read_body(request: Request, limit: int) -> bytes:
    """Read the body, at most `limit` bytes; raise `TooLarge` beyond.

    What is beyond is read and thrown away, up to a point: closing a connection that is still being written to
    resets it, and the client would never see the 413.
    """
    parts = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            parts += chunk
        elif size > limit + _THROWN_AWAY:
            break
    if size > limit:
        raise TooLarge
    return bytes(parts)


def read_form(body: bytes) -> dict[str, str]:
    """Read a form-encoded body; raises ValueError for what is not one."""
    return dict(
        parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=50,
            errors="strict",
        )
    )  # fmt: skip


def json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")


def refusal(status: int, code: Code, message: str, headers: dict[str, str] | None = None) -> Response:
    """Answer a whole request with Amazon's error shape, `{code, message}`."""
    return json({"code": code, "message": message}, status, headers)


def control_error(status: int, error: str, detail: str) -> Response:
    """Answer a request to the sandbox's own controls, in the shape the project's other routes have."""
    return json({"error": error, "detail": detail, "fields": []}, status)


Endpoint = Callable[[Request], Awaitable[Response]]


def calmly(endpoint: Endpoint) -> Endpoint:
    """Give a client that hangs up in the middle of its request a quiet end."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            return Silence()

    return guarded
