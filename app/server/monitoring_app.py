"""Health and metrics of one process, for its monitoring port.

API processes share one port for requests and workers have none, so each process has a separate port for its
health and metrics. `app.processes.monitoring_port` imports this module only if the port is configured: other
workers do not load the web framework.
"""

import contextlib
from collections.abc import Callable, Generator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.admin.refusals import ErrorCode, Problem
from app.api.errors import error_response, not_ready
from app.health import MetricsText, Readiness
from app.server.connection_limits import ConnectionLimits
from app.server.middleware import HEADERS
from app.server.server import Server

_LIMITS = ConnectionLimits(head_s=5, body_s=5, connections=32)


class MonitoringApp:
    """The ASGI application of the monitoring port. `stopping` returns whether shutdown was requested."""

    def __init__(self, *, metrics: MetricsText, readiness: Readiness, stopping: Callable[[], bool]) -> None:
        self._metrics = metrics
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
                return Response(await self._metrics.read(), media_type=CONTENT_TYPE_LATEST)
            case "/health/live":
                return JSONResponse({"status": "ok"})
            case "/health/ready":
                reasons = ("stopping",) if self._stopping() else await self._readiness.reasons()
                return not_ready(reasons) if reasons else JSONResponse({"status": "ready", "reasons": []})
            case _:
                return error_response(Problem(ErrorCode.NOT_FOUND))


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
