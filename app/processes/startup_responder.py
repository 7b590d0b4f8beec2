"""What an API process answers while it waits for the database to start with: 503, at once.

Its listener may be open already, and callers who find nobody behind it would hang until they give up.
"""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from app.admin.refusals import ErrorCode, Problem
from app.api.errors import error_response
from app.api.health import not_ready
from app.server.connection_limits import ConnectionLimits
from app.server.middleware import HEADERS
from app.server.monitoring_app import MonitoringServer

Opened = TypeVar("Opened")
PATIENCE_S: Final = 1.0  # a start that is quicker than this answers nobody before it is over
_SENTENCE: Final = "The service is starting and waits for its database. Send the same request again."


async def answering(
    opening: Coroutine[Any, Any, Opened], *, sockets: list[socket.socket], connections: int
) -> Opened:
    """Return what `opening` returns; answer 503 on `sockets` meanwhile. They stay open and listening."""
    task = asyncio.ensure_future(opening)
    try:
        await asyncio.wait({task}, timeout=PATIENCE_S)
        if task.done():
            return task.result()
        server = MonitoringServer(
            _starting, terms=ConnectionLimits(head_s=5, body_s=5, connections=connections)
        )
        serving = asyncio.create_task(server.serve(sockets=[one.dup() for one in sockets]))
        try:
            return await task
        finally:
            server.end()
            await serving
    finally:
        task.cancel()


async def _starting(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    response = _answer(scope["path"])
    response.headers.update(HEADERS)
    # The next request belongs to the service itself.
    response.headers["Connection"] = "close"
    await response(scope, receive, send)


def _answer(path: str) -> Response:
    match path:
        case "/health/live":
            return JSONResponse({"status": "ok"})
        case "/health/ready":
            return not_ready(("starting",))
        case _:
            return error_response(
                Problem(ErrorCode.UNAVAILABLE, _SENTENCE, extra={"code": "SERVICE_UNAVAILABLE"})
            )
