"""Answer 503 while an API process waits for its database at startup.

Its port is already open. Without a response, callers would wait until their timeout.
"""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from app.admin.refusals import ErrorCode, Problem
from app.api.errors import error_response, not_ready
from app.server.connection_limits import ConnectionLimits
from app.server.middleware import HEADERS
from app.server.monitoring_app import MonitoringServer

Result = TypeVar("Result")
_START_AFTER_S: Final = 1.0  # a faster startup needs no responder
_SENTENCE: Final = "The service is starting and waits for its database. Retry the request."


async def respond_while_starting(
    startup: Coroutine[Any, Any, Result], *, sockets: list[socket.socket], connections: int
) -> Result:
    """Await `startup` and return its result. Meanwhile, answer 503 on `sockets`, which stay open."""
    task = asyncio.ensure_future(startup)
    try:
        await asyncio.wait({task}, timeout=_START_AFTER_S)
        if task.done():
            return task.result()
        server = MonitoringServer(
            _unavailable, limits=ConnectionLimits(head_s=5, body_s=5, connections=connections)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener.dup() for listener in sockets]))
        try:
            return await task
        finally:
            server.stop()
            await serving
    finally:
        task.cancel()


async def _unavailable(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    response = _answer(scope["path"])
    response.headers.update(HEADERS)
    # The next request of this client must reach the application.
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
