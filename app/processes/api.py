"""The API process: reads settings, opens resources, wires the road's first half to the web, serves."""

import asyncio
import hashlib
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

import uvloop
from fastapi import FastAPI

from app.admin.context import AppContext
from app.admin.delivery_control import StoreDeliveryControl
from app.amazon.accounts import find_advertiser
from app.amazon.client import EventsClient
from app.domain.admission import MIB, Limits
from app.domain.conversion.consent import ConsentSettings
from app.ingest.destination_cache import AgeLimits, DestinationCache
from app.ingest.flush_writer import FlushWriter
from app.ingest.group_commit import GroupCommit
from app.ingest.intake import Intake
from app.ingest.notifier import Notifier
from app.ingest.queue_age import QueueAgeMonitor
from app.ingest.schema_sampler import SchemaSampler
from app.processes import gc_tuning, parent_watch
from app.processes.application import create_application
from app.processes.monitoring_port import monitoring_port
from app.processes.resources import Resources, amazon_sign_in, open_resources
from app.processes.startup_responder import answering
from app.server.connection_eviction import allowed_connections
from app.server.connection_limits import ConnectionLimits
from app.server.server import TLS_ONLY, Server
from app.settings import Settings
from app.telemetry import configure_logging

POOL_SIZE = 6


def serve(settings: Settings, *, sockets: list[socket.socket] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished first."""
    configure_logging(settings.log_level)
    uvloop.run(_serve(settings, sockets))


async def _serve(settings: Settings, sockets: list[socket.socket] | None) -> None:
    connections = allowed_connections(settings.max_connections)
    async with AsyncExitStack() as stack:
        own = sockets or _listening(settings)
        resources = await answering(
            stack.enter_async_context(open_resources(settings, role="api", pool_size=POOL_SIZE)),
            sockets=own,
            connections=connections,
        )
        application = await stack.enter_async_context(build_application(resources, connections=connections))
        server = Server(
            application,
            host=settings.host,
            port=settings.port,
            keep_alive_seconds=settings.keep_alive_seconds,
            # From a socket that others accept from as well nobody has to be led away.
            shutdown_delay_s=0 if sockets else settings.shutdown_delay_seconds,
            terms=ConnectionLimits(
                head_s=settings.header_read_timeout_seconds,
                body_s=settings.body_read_timeout_seconds,
                body_rate=settings.body_min_bytes_per_second,
                connections=connections,
            ),
            registry=resources.telemetry.registry,
            admission=application.state.admission,
            headers=TLS_ONLY if settings.production else (),
        )
        # Readiness turns red by this, and a stream of live updates ends at its next look at it.
        application.state.stopping = lambda: server.leaving
        gc_tuning.freeze_and_relax()
        parent_watch.exit_with_parent()
        async with monitoring_port(resources, stopping=lambda: server.leaving):
            await server.serve(sockets=own or None)


def _listening(settings: Settings) -> list[socket.socket]:
    """Open HOST and PORT; where that fails, leave it to the server to say so."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return [socket.create_server((settings.host, settings.port), family=family, backlog=2048)]
    except OSError:
        return []


@asynccontextmanager
async def build_application(
    resources: Resources, *, connections: int | None = None
) -> AsyncIterator[FastAPI]:
    """Run the road's first half and yield the application that feeds it.

    `connections` is how many the process may have; by default what the setting says.
    """
    settings = resources.settings
    consent = ConsentSettings(settings.tcf_vendor_id, frozenset(settings.tcf_purposes))
    ages = AgeLimits(
        timedelta(days=settings.max_event_age_days), timedelta(days=settings.warn_event_age_days)
    )
    sampler = SchemaSampler(resources.pool, time.monotonic, resources.telemetry)
    intake, announcer = build_ingest(resources, ages, consent, sampler)
    backlogs = QueueAgeMonitor(
        pool=resources.pool, max_age=ages.refused, jitter=random.random, telemetry=resources.telemetry
    )
    client_id = settings.amazon_client_id or ""
    client = EventsClient(client_id, settings.amazon_base_url)
    sign_in = amazon_sign_in(settings)
    bootstrap = settings.bootstrap_admin_key
    context = AppContext(
        engine=resources.engine,
        vault=resources.vault,
        sign_in=sign_in,
        find_advertiser=partial(find_advertiser, client),
        delivery_control=StoreDeliveryControl(
            pool=resources.pool,
            writer=resources.writer,
            monotonic=time.monotonic,
            callbacks_enabled=settings.status_callback_url is not None,
        ),
        public_url=settings.public_url,
        development=not settings.production,
        amazon_configured=bool(settings.amazon_client_id and settings.amazon_client_secret),
        callback_configured=settings.status_callback_url is not None,
        bootstrap_key_digest=(
            hashlib.sha256(bootstrap.get_secret_value().encode()).digest() if bootstrap else None
        ),
        registry=resources.telemetry.registry,
        now=resources.clock.now,
        outcomes=resources.outcomes,
        clock=resources.clock,
        pepper=resources.pepper,
        max_event_age=ages.refused,
        warn_event_age=ages.warned,
        consent=consent,
        intake=intake,
        bounds=Limits(
            target_latency_s=settings.target_latency_ms / 1000,
            body_bytes=settings.bodies_in_flight_mib * MIB,
            resident_bytes=settings.api_memory_mib * MIB,
            connections=connections or settings.max_connections,
        ),
        events_waiting=lambda: intake.waiting,
        late=lambda: backlogs.late,
        pool=resources.pool,
        write_schema_samples=sampler.write,
    )
    flushing = asyncio.create_task(intake.run(), name="flush")
    announcing = asyncio.create_task(announcer.run(), name="announce")
    sampling = asyncio.create_task(sampler.run(), name="sample")
    looking = asyncio.create_task(backlogs.run(), name="backlogs")
    try:
        yield create_application(context)
    finally:
        intake.close()
        await flushing
        announcing.cancel()
        sampling.cancel()
        looking.cancel()
        await client.close()
        await sign_in.close()


def build_ingest(
    resources: Resources, ages: AgeLimits, consent: ConsentSettings, sampler: SchemaSampler | None = None
) -> tuple[Intake, Notifier]:
    """Put the parts of the first half of the road together; both must be run."""
    settings = resources.settings
    targets = DestinationCache(ages, consent, fast_path=settings.fast_path)
    announcer = Notifier(
        pool=resources.pool, every=settings.merge_window_ms / 4_000, telemetry=resources.telemetry
    )
    stores = FlushWriter(keys=resources.vault, pepper=resources.pepper, writer=resources.writer)
    flusher = GroupCommit(
        connect=resources.connect,
        targets=targets,
        stores=stores,
        gather=settings.flush_wait_ms / 1000,
        clock=resources.clock,
        stored=announcer.stored,
        telemetry=resources.telemetry,
        outcomes=resources.outcomes,
    )
    intake = Intake(
        flusher=flusher,
        targets=targets,
        stores=stores,
        pool=resources.pool,
        clock=resources.clock,
        telemetry=resources.telemetry,
        observe=None if sampler is None else sampler.observe,
    )
    return intake, announcer
