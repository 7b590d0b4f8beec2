"""A process that can be watched: health and metrics on a port of its own, where METRICS_PORT names one."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from app.processes.resources import Resources
from app.settings import SettingsError


@asynccontextmanager
async def monitoring_port(resources: Resources, *, stopping: Callable[[], bool]) -> AsyncIterator[None]:
    """Show this process for as long as the block runs; do nothing where no port is set.

    Raises SettingsError when the port cannot be opened.
    """
    settings = resources.settings
    if settings.metrics_port is None:
        yield
        return
    # Imported here: they bring the web framework along, 10 MB of memory that a worker unwatched does without.
    from app.api.health import API, WORKER, Readiness
    from app.server.monitoring_app import MonitoringApp, MonitoringServer

    readiness = Readiness(
        resources.engine,
        time.monotonic,
        role=API if resources.role == "api" else WORKER,
        outcomes=resources.outcomes,
        clock=resources.clock,
    )
    shown = MonitoringApp(registry=resources.telemetry.registry, readiness=readiness, stopping=stopping)
    with _door(settings.host, settings.metrics_port) as door:
        server = MonitoringServer(shown)
        serving = asyncio.create_task(server.serve(sockets=[door]), name="watched")
        try:
            yield
        finally:
            server.end()
            await serving


def _door(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError:
        raise SettingsError([f"METRICS_PORT: port {port} is in use or may not be opened."]) from None
