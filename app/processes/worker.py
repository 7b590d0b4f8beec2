"""The worker process: it opens its resources, builds the dispatcher, and delivers until shutdown."""

import asyncio
import signal
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import uvloop

from app.amazon.client import EventsClient
from app.amazon.tokens import SignIn
from app.delivery.access_tokens import AccessTokens
from app.delivery.balance_check import BalanceJob
from app.delivery.callbacks import CallbackPost, CallbackSender
from app.delivery.delivery import Delivery
from app.delivery.dispatcher import Dispatcher
from app.delivery.erasure import ErasureScanner
from app.delivery.lane_leases import LaneLeases
from app.delivery.maintenance import Maintenance, Retention
from app.delivery.worker import Worker
from app.domain.pacing.order import Capacity, Turns
from app.processes import gc_tuning, parent_watch
from app.processes.clients import amazon_sign_in, events_client, status_callbacks
from app.processes.incident_jobs import incident_jobs
from app.processes.monitoring_port import monitoring_port
from app.processes.resources import Resources, open_resources
from app.settings import Settings
from app.telemetry import configure_logging

POOL_SIZE = 10


def run(settings: Settings) -> None:
    """Deliver until SIGTERM or SIGINT, then settle the requests in flight."""
    configure_logging(settings.log_level)
    uvloop.run(_run(settings))


async def _run(settings: Settings) -> None:
    client = events_client(settings, Capacity(settings.max_requests_in_flight).region)
    async with (
        open_resources(settings, role="worker", pool_size=POOL_SIZE) as resources,
        aclosing(client),
        aclosing(amazon_sign_in(settings)) as sign_in,
        status_callbacks(settings) as deliver,
    ):
        dispatcher = build_dispatcher(resources, client, sign_in, deliver)
        gc_tuning.freeze_and_relax()
        parent_watch.exit_with_parent()
        async with monitoring_port(resources, stopping=dispatcher.stopping.is_set), incident_jobs(resources):
            # Until here a signal ends the process at once. It has no lane and no request, and to complete
            # the start first would take seconds on a busy machine.
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, dispatcher.stop)
            await dispatcher.run()


def retention_of(settings: Settings) -> Retention:
    """Return how long data is stored."""
    return Retention(
        max_age=timedelta(days=settings.max_event_age_days),
        key_life=timedelta(hours=settings.data_key_retention_hours),
        batch_days=settings.batch_retention_days,
        rejection_days=settings.rejection_retention_days,
    )


def build_dispatcher(
    resources: Resources, client: EventsClient, sign_in: SignIn, deliver: CallbackPost | None = None
) -> Dispatcher:
    """Build the dispatcher of a worker."""
    settings = resources.settings
    retention = retention_of(settings)
    worker = Worker(
        name=resources.name,
        pool=resources.pool,
        connect=resources.connect,
        vault=resources.vault,
        writer=replace(resources.writer, callbacks_enabled=deliver is not None),
        clock=resources.clock,
        telemetry=resources.telemetry,
        capacity=Capacity(settings.max_requests_in_flight),
    )
    tokens = AccessTokens(worker=worker, amazon=sign_in)
    erasing = ErasureScanner(worker=worker)
    return Dispatcher(
        worker=worker,
        delivery=Delivery(
            worker=worker, amazon=client, tokens=tokens, erasing=erasing, max_age=retention.max_age
        ),
        leases=LaneLeases(worker=worker, turns=Turns(settings.merge_window_ms / 1000)),
        maintenance=Maintenance(worker=worker, retention=retention),
        balancing=BalanceJob(worker=worker),
        erasing=erasing,
        outcomes=resources.outcomes,
        callback_sender=None if deliver is None else CallbackSender(worker=worker, deliver=deliver),
    )
