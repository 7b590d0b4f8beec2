"""Run the incident monitor and the delivery of notifications in every process."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import timedelta

from app.incidents.monitor import IncidentMonitor
from app.incidents.observation import Observer
from app.incidents.outbox import MessagePlanner, NotificationDelivery
from app.processes.clients import channel_clients
from app.processes.resources import Resources
from app.store.errors import DRIVER_ERRORS
from app.telemetry import Telemetry

_LONGEST_PAUSE_S = 10.0  # a pause is as long as the run before, but not longer than this


@asynccontextmanager
async def incident_jobs(resources: Resources) -> AsyncIterator[None]:
    """Run the incident monitor and the delivery of notifications during the block."""
    settings = resources.settings
    monitor = IncidentMonitor(
        owner=resources.name,
        connect=resources.connect,
        observer=Observer(timedelta(days=settings.max_event_age_days), time.monotonic),
        planner=MessagePlanner(public_url=settings.public_url),
        channels=settings.notification_channels,
        monotonic=time.monotonic,
        telemetry=resources.telemetry,
        retention=timedelta(days=settings.incident_retention_days),
    )
    clients = channel_clients(settings)
    jobs: list[IncidentMonitor | NotificationDelivery] = [
        NotificationDelivery(channel, resources.pool, clients, random.random, resources.telemetry)
        for channel in settings.notification_channels
    ]
    jobs.append(monitor)
    async with aclosing(clients.webhooks):
        tasks = [asyncio.create_task(_repeat(job, resources.telemetry)) for job in jobs]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(*DRIVER_ERRORS):
                await monitor.leave()


async def _repeat(job: IncidentMonitor | NotificationDelivery, telemetry: Telemetry) -> None:
    """Run a job every `every_s` seconds until cancelled. Log its errors."""
    while True:
        began = time.monotonic()
        try:
            await job.run()
        except DRIVER_ERRORS as error:
            telemetry.failed("incidents.database_error", error, level=logging.WARNING)
        except Exception as error:
            telemetry.failed("incidents.failed", error, level=logging.ERROR)
        took = time.monotonic() - began
        await asyncio.sleep(max(job.every_s, min(took, _LONGEST_PAUSE_S)))
