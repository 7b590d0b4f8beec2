"""The servers of a process beside its main one: the monitoring port, and 503 while an API process starts.

API processes share one port for requests and workers have none, so each process has a separate port for its
health and metrics. `app.processes.monitoring_port` imports this module only if the port is configured: other
workers do not load the web framework.

While an API process waits for its database at startup, its port is already open. Without a response, callers
would wait until their timeout.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.admin import ErrorCode, Problem
from app.api.errors import error_response, not_ready
from app.health import CachedResult, Readiness
from app.server.connection_limits import ConnectionLimits
from app.server.middleware import HEADERS
from app.server.server import Server

_LIMITS = ConnectionLimits(head_s=5, body_s=5, connections=32)
Result = TypeVar("Result")
_START_AFTER_S: Final = 1.0  # a faster startup needs no responder
_SENTENCE: Final = "The service is starting and waits for its database. Retry the request."


def monitoring_application(
    *, metrics: CachedResult[bytes], readiness: Readiness, stopping: Callable[[], bool]
) -> ASGIApp:
    """Return the application of the monitoring port. `stopping` returns whether shutdown was requested."""

    async def answer(method: str, path: str) -> Response:
        if method not in {"GET", "HEAD"}:
            return error_response(Problem(ErrorCode.METHOD_NOT_ALLOWED), {"Allow": "GET, HEAD"})
        match path:
            case "/metrics":
                return Response(await metrics.get(), media_type=CONTENT_TYPE_LATEST)
            case "/health/live":
                return JSONResponse({"status": "ok"})
            case "/health/ready":
                reasons = ("stopping",) if stopping() else await readiness.reasons()
                return not_ready(reasons) if reasons else JSONResponse({"status": "ready", "reasons": []})
            case _:
                return error_response(Problem(ErrorCode.NOT_FOUND))

    return _application_of(answer)


def _application_of(answer: Callable[[str, str], Awaitable[Response]]) -> ASGIApp:
    """Return the ASGI application that answers requests by their method and path."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        response = await answer(scope["method"], scope["path"])
        response.headers.update(HEADERS)
        await response(scope, receive, send)

    return application


class MonitoringServer(Server):
    """A secondary server of a process: handles no signals and ends by `stop`."""

    def __init__(self, application: ASGIApp, *, limits: ConnectionLimits = _LIMITS) -> None:
        super().__init__(
            application,
            keep_alive_seconds=5,
            shutdown_delay_s=0,
            limits=limits,
            registry=CollectorRegistry(),  # connections of this server do not count in the metrics
        )

    def stop(self) -> None:
        """Request shutdown; `serve` returns when requests in progress are answered."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle no signals, because the process handles them."""
        yield


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
            _application_of(_unavailable),
            limits=ConnectionLimits(head_s=5, body_s=5, connections=connections),
        )
        serving = asyncio.create_task(server.serve(sockets=[listener.dup() for listener in sockets]))
        try:
            return await task
        finally:
            server.stop()
            await serving
    finally:
        task.cancel()


async def _unavailable(_method: str, path: str) -> Response:
    match path:
        case "/health/live":
            response: Response = JSONResponse({"status": "ok"})
        case "/health/ready":
            response = not_ready(("starting",))
        case _:
            problem = Problem(ErrorCode.UNAVAILABLE, _SENTENCE, extra={"code": "SERVICE_UNAVAILABLE"})
            response = error_response(problem)
    # The next request of this client must reach the application.
    response.headers["Connection"] = "close"
    return response
