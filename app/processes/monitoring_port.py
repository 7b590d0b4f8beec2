"""Read the gauges of a process, and serve its health and metrics on METRICS_PORT."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from app.delivery.database_gauges import DatabaseGauges
from app.health import metrics_text
from app.processes.listeners import listen
from app.processes.resources import Resources


@asynccontextmanager
async def monitoring_port(resources: Resources, *, stopping: Callable[[], bool]) -> AsyncIterator[None]:
    """Read the gauges and serve the monitoring port during the block.

    Without METRICS_PORT, an API process only reads the gauges, because it serves its own `/metrics`. A worker
    then does nothing. Raises SettingsError if the port cannot be opened.
    """
    settings = resources.settings
    if settings.metrics_port is None and resources.role != "api":
        yield
        return
    gauges = DatabaseGauges(
        resources.pool, resources.telemetry, per_destination=settings.metrics_per_destination
    )
    async with AsyncExitStack() as stack:
        stack.callback(asyncio.create_task(gauges.run(), name="gauges").cancel)
        if settings.metrics_port is not None:
            # These modules load the web framework (10 MB). A worker without the port does not need it.
            from app.server.server import MonitoringServer, monitoring_application

            metrics = metrics_text(resources.telemetry.registry, time.monotonic)
            application = monitoring_application(
                metrics=metrics, readiness=resources.readiness, stopping=stopping
            )
            listener = stack.enter_context(listen(settings, settings.metrics_port, "METRICS_PORT"))
            server = MonitoringServer(application)
            serving = asyncio.create_task(server.serve(sockets=[listener]), name="monitoring")
            stack.push_async_callback(lambda: serving)  # waits for its end, after `stop`
            stack.callback(server.stop)
        yield
