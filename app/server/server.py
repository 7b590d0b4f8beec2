"""The HTTP server: checks connection deadlines and shuts down gracefully.

At shutdown, the readiness check fails first. During the shutdown delay the server still answers requests,
with `Connection: close`: the load balancer needs this time to notice. Then the server accepts no connection,
answers the requests in progress, and `serve` returns.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Generator, Sequence
from functools import partial
from types import FrameType
from typing import Any, Final

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from app.server.admission import AdmissionController
from app.server.connection import HttpConnection
from app.server.connection_limits import CLOSED, ConnectionLimits, WaitingConnections
from app.telemetry import counters_from_zero

_log = logging.getLogger(__name__)
_DEADLINE_CHECK_INTERVAL_S: Final = 0.5
# HSTS for browsers; sent in production, where PUBLIC_URL is https. Without includeSubDomains, because other
# hosts below PUBLIC_URL's host need not be ours; a proxy that knows them can add it.
HSTS_HEADERS: Final = (("Strict-Transport-Security", "max-age=31536000"),)
_GRACE_S: Final = 30  # for requests in progress at shutdown


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
        checks = asyncio.create_task(self._check_deadlines(), name="deadlines")
        checks.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._deadline_checks = checks  # runs until `shutdown` returns
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
            now = loop.time()
            for connection in self._connections():
                try:
                    connection.check_deadlines(now)
                except Exception:  # the other connections still need their checks
                    _log.exception("connection.defect")
                    connection.transport.abort()

    def _connections(self) -> list[HttpConnection]:
        return [each for each in self.server_state.connections if isinstance(each, HttpConnection)]
