"""The server around the application: it cuts slow clients, and leaves without dropping anybody.

Leaving, step by step: readiness turns red; for a while requests are still taken, each answered with
`Connection: close`, until whoever spreads the requests has noticed; then nothing new is accepted, what is
under way is answered, and the process ends.
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
from prometheus_client import CollectorRegistry, Counter
from starlette.types import ASGIApp

from app.server.admission import AdmissionController
from app.server.connection import HttpConnection
from app.server.connection_eviction import WaitingConnections
from app.server.connection_limits import ConnectionLimits, ShutdownState

_log = logging.getLogger(__name__)
_SWEEP_EVERY_S: Final = 0.5
# For browsers, which must never speak to the console in clear; sent where PUBLIC_URL must be https.
TLS_ONLY: Final = (("Strict-Transport-Security", "max-age=31536000"),)
GRACE_S: Final = 30  # for requests under way when the process is told to stop


class Server(uvicorn.Server):
    """Serves one application until SIGTERM or SIGINT."""

    def __init__(
        self,
        application: ASGIApp,
        *,
        host: str,
        port: int,
        keep_alive_seconds: int,
        shutdown_delay_s: float,
        terms: ConnectionLimits,
        registry: CollectorRegistry,
        admission: AdmissionController | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        cut = Counter("connections_cut", "Connections that were ended", ["why"], registry=registry)
        self._closing = ShutdownState()
        self._shutdown_delay_s = shutdown_delay_s
        self._hurried = asyncio.Event()
        protocol: Any = partial(
            HttpConnection,
            terms=terms,
            closing=self._closing,
            cut=lambda why: cut.labels(why).inc(),
            waiting=WaitingConnections(),
            admission=admission,
        )
        super().__init__(
            uvicorn.Config(
                application,
                host=host,
                port=port,
                http=protocol,
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                date_header=True,
                headers=list(headers),
                proxy_headers=False,
                timeout_keep_alive=keep_alive_seconds,
                timeout_graceful_shutdown=GRACE_S,
            )
        )

    @property
    def leaving(self) -> bool:
        """Whether the process was told to stop."""
        return self.should_exit

    async def main_loop(self) -> None:
        """Serve until told to stop, then linger: nothing is refused yet, and no connection is kept."""
        sweeping = asyncio.create_task(self._sweep(), name="sweep")
        sweeping.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._sweeping = sweeping  # also while the last requests are read
        await super().main_loop()
        self._closing.begun = True
        for connection in self._connections():
            connection.begin_shutdown()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurried.wait(), self._shutdown_delay_s)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave; asked twice, without lingering."""
        if self.should_exit:
            self._hurried.set()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: Any = None) -> None:
        """Accept nothing more, and return once what is under way is answered."""
        await super().shutdown(sockets)
        self._sweeping.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take the signals for the time of serving; they end the serving, not the process.

        The server's own way raises them again at the end, and what the process still has to close is lost.
        """
        loop = asyncio.get_running_loop()
        asked = (signal.SIGTERM, signal.SIGINT)
        for number in asked:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in asked:
                loop.remove_signal_handler(number)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            now = loop.time()
            for connection in self._connections():
                try:
                    connection.look(now)
                except Exception:  # nothing else looks after the others
                    _log.exception("connection.defect")
                    connection.transport.abort()

    def _connections(self) -> list[HttpConnection]:
        return [one for one in self.server_state.connections if isinstance(one, HttpConnection)]
