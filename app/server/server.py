"""The HTTP servers of a process: the main one, the monitoring port, and 503 while an API process starts.

A server checks the deadlines of its connections. At shutdown, the readiness check fails first. During the
shutdown delay the server still answers requests, with `Connection: close`: the load balancer needs this time
to notice. Then the server accepts no connection, answers the requests in progress, and `serve` returns.

API processes share one port for requests and workers have none, so each process has a separate port for its
health and metrics. `app.processes.monitoring_port` imports this module only if the port is configured: other
workers do not load the web framework.

While an API process waits for its database at startup, its port is already open. Without a response, callers
would wait until their timeout.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from functools import partial
from types import FrameType
from typing import Any, Final, TypeVar

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.admin import ErrorCode, Problem
from app.api.errors import error_response, not_ready
from app.health import CachedResult, Readiness
from app.server.admission import AdmissionController
from app.server.connection import HttpConnection
from app.server.connection_limits import CLOSED, ConnectionLimits, WaitingConnections
from app.server.middleware import HEADERS
from app.telemetry import counters_from_zero

_log = logging.getLogger(__name__)
_DEADLINE_CHECK_INTERVAL_S: Final = 0.5
# HSTS for browsers; sent in production, where PUBLIC_URL is https. Without includeSubDomains, because other
# hosts below PUBLIC_URL's host need not be ours; a proxy that knows them can add it.
HSTS_HEADERS: Final = (("Strict-Transport-Security", "max-age=31536000"),)
_GRACE_S: Final = 30  # for requests in progress at shutdown
_MONITORING_LIMITS: Final = ConnectionLimits(head_s=5, body_s=5, connections=32)
Result = TypeVar("Result")
_START_AFTER_S: Final = 1.0  # a faster startup needs no responder
_STARTING: Final = "The service is starting and waits for its database. Retry the request."


class Server(uvicorn.Server):
    """Serves one application until SIGTERM or SIGINT."""

    def __init__(
        self,
        application: ASGIApp,
        *,
        keep_alive_seconds: int,
        shutdown_delay_s: float,
        limits: ConnectionLimits,
        registry: CollectorRegistry,
        admission: AdmissionController | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        closed = counters_from_zero(
            registry, "connections_closed", "Connections that the server closed", "reason", CLOSED
        )
        self._waiting = WaitingConnections()
        self._shutdown_delay_s = shutdown_delay_s
        self._skip_delay = asyncio.Event()
        protocol: Any = partial(
            HttpConnection,
            limits=limits,
            closed=lambda reason: closed[reason].inc(),
            waiting=self._waiting,
            admission=admission,
        )
        super().__init__(
            uvicorn.Config(
                application,
                http=protocol,
                ws="none",  # with `lifespan`: applications get HTTP requests only
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=True,
                headers=list(headers),
                proxy_headers=False,
                timeout_keep_alive=keep_alive_seconds,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )

    async def main_loop(self) -> None:
        """Serve until shutdown is requested, and then for the shutdown delay."""
        # Runs until `shutdown` returns.
        self._deadline_checks = asyncio.create_task(self._check_deadlines(), name="deadlines")
        await super().main_loop()
        self._waiting.shutdown_begun = True
        for connection in self._connections():
            connection.begin_shutdown()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._skip_delay.wait(), self._shutdown_delay_s)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Request shutdown; a second signal skips the shutdown delay."""
        if self.should_exit:
            self._skip_delay.set()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: Any = None) -> None:
        """Close the listeners and return when requests in progress are answered."""
        await super().shutdown(sockets)
        self._deadline_checks.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle signals while serving. A signal ends `serve`, not the process.

        uvicorn's own method raises the signals again at the end, before the process closes its resources.
        """
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def _check_deadlines(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_DEADLINE_CHECK_INTERVAL_S)
            try:
                self._check_connections(loop.time())
            except Exception:  # the next check is still needed
                _log.exception("deadline_check.defect")

    def _check_connections(self, now: float) -> None:
        for connection in self._connections():
            try:
                connection.check_deadlines(now)
            except Exception:  # the other connections still need their checks
                _log.exception("connection.defect")
                self.server_state.connections.discard(connection)
                connection.transport.abort()

    def _connections(self) -> list[HttpConnection]:
        return [each for each in self.server_state.connections if isinstance(each, HttpConnection)]


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

    def __init__(self, application: ASGIApp, *, limits: ConnectionLimits = _MONITORING_LIMITS) -> None:
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
            problem = Problem(ErrorCode.UNAVAILABLE, _STARTING, extra={"code": "SERVICE_UNAVAILABLE"})
            response = error_response(problem)
    # The next request of this client must reach the application.
    response.headers["Connection"] = "close"
    return response
