"""Read requests and answer them, including ways in which a server can fail."""

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
    """Raised by an in-process transport, which has no connection to close."""


class TooLarge(Exception):
    """The body is larger than the sandbox accepts."""


@dataclass(slots=True)
class HangUpMiddleware:
    """The outermost middleware: lets a response close the connection without sending a byte.

    ASGI has no message for this. In uvicorn, `send` is a bound method of the request cycle, which has the
    transport as an attribute. After the abort, the middleware waits for the disconnect, so uvicorn neither
    returns 500 nor logs an error.
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
    """Wait until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


class HangUp(Response):
    """Close the connection without answering."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope[HANG_UP]()


class Silence(Response):
    """Never answer: keep the connection open until the client closes it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await gone(receive)


class Half(Response):
    """Declare the full length, send half of the body, and close the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await scope[HANG_UP]()


class Flood(Response):
    """Send `megabytes` of a body that is never valid."""

    megabytes = 64

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        chunk: Message = {"type": "http.response.body", "body": b"[" * _CHUNK, "more_body": True}
        for _ in range(self.megabytes * 1024 * 1024 // _CHUNK):
            await send(chunk)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def read_body(request: Request, limit: int) -> bytes:
    """Read the body. Raises `TooLarge` if it has more than `limit` bytes.

    The rest is read and discarded up to a limit. Otherwise the connection would be reset while the client
    still writes, and the client could not read the 413.
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
    """Read a form-encoded body. Raises ValueError for any other body."""
    return dict(
        parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=50,
            errors="strict",
        )
    )  # fmt: skip


def json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")


def refusal(status: int, code: Code, message: str, headers: dict[str, str] | None = None) -> Response:
    """Answer a complete request with Amazon's error format, `{code, message}`."""
    return json({"code": code, "message": message}, status, headers)


def control_error(status: int, error: str, detail: str, fields: dict[str, str] | None = None) -> Response:
    """Answer a control request in the format of the project's other routes. `fields` has their problems."""
    problems = [{"field": name, "problem": problem} for name, problem in (fields or {}).items()]
    return json({"error": error, "detail": detail, "fields": problems}, status)


def refuse_parameters(request: Request, *accepted: str) -> Response | None:
    """Refuse other parameters, and one given twice: a misspelt filter must not delete everything."""
    fields = {
        name: "unknown_parameter" if name not in accepted else "duplicate"
        for name in request.query_params
        if name not in accepted or len(request.query_params.getlist(name)) > 1
    }
    detail = f"Accepted parameters: {', '.join(accepted) or 'none'}, each once."
    return control_error(422, "invalid", detail, fields) if fields else None


Endpoint = Callable[[Request], Awaitable[Response]]


def calmly(endpoint: Endpoint) -> Endpoint:
    """End without an error if a client disconnects during its request."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            return Silence()

    return guarded
