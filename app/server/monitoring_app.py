"""What a process shows on a port of its own: health and metrics, for whoever watches this one process.

Several API processes answer on one port and workers on none; only here does a question reach the process that
it is about. Nothing else is served, and nothing that is served names a person or an event.
"""

import contextlib
from collections.abc import Callable, Generator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.admin.refusals import ErrorCode, Problem
from app.api.errors import error_response
from app.api.health import Readiness, not_ready
from app.server.connection_limits import ConnectionLimits
from app.server.middleware import HEADERS
from app.server.server import Server

_TERMS = ConnectionLimits(head_s=5, body_s=5, connections=32)


class MonitoringApp:
    """The application of that port. `stopping` tells whether the process was told to end."""

    def __init__(
        self, *, registry: CollectorRegistry, readiness: Readiness, stopping: Callable[[], bool]
    ) -> None:
        self._registry = registry
        self._readiness = readiness
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        response = await self._answer(scope["method"], scope["path"])
        response.headers.update(HEADERS)
        await response(scope, receive, send)

    async def _answer(self, method: str, path: str) -> Response:
        if method not in {"GET", "HEAD"}:
            return error_response(Problem(ErrorCode.METHOD_NOT_ALLOWED), {"Allow": "GET, HEAD"})
        match path:
            case "/metrics":
                return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
            case "/health/live":
                return JSONResponse({"status": "ok"})
            case "/health/ready":
                reasons = ("stopping",) if self._stopping() else await self._readiness.reasons()
                return not_ready(reasons) if reasons else JSONResponse({"status": "ready", "reasons": []})
            case _:
                return error_response(Problem(ErrorCode.NOT_FOUND))


class MonitoringServer(Server):
    """A server beside what the process is for: it leaves signals alone and ends when it is told to."""

    def __init__(self, application: ASGIApp, *, terms: ConnectionLimits = _TERMS) -> None:
        super().__init__(
            application,
            host="",
            port=0,
            keep_alive_seconds=5,
            shutdown_delay_s=0,
            terms=terms,
            # Who is cut here is of no interest to those who watch the process itself.
            registry=CollectorRegistry(),
        )

    def end(self) -> None:
        """Accept nothing more; `serve` returns once what is under way is answered."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take no signal: they are the process's own."""
        yield
