"""The API process: it opens its resources, builds ingest and the web application, and serves."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

import uvloop
from fastapi import FastAPI

from app.admin.access.people import PersonClaims
from app.admin.context import AppContext
from app.admin.destinations.delivery_control import DeliveryControl
from app.amazon.accounts import find_advertiser
from app.api.access.inbound_limits import OrganisationCache
from app.api.recent_rows import keep_fresh
from app.crypto import secret_digest
from app.domain.admission import Limits
from app.domain.conversion.results import DeploymentRules
from app.ingest.destination_cache import DestinationCache
from app.ingest.evaluate import Evaluator
from app.ingest.flush_writer import FlushWriter
from app.ingest.group_commit import FlushSession, GroupCommit, Notifier
from app.ingest.intake import Intake, QueueAgeMonitor
from app.ingest.recorders import RejectionRecorder, RepeatedIdRecorder
from app.ingest.schema_sampler import SchemaSampler
from app.ingest.shadows import ShadowRunner
from app.processes import gc_tuning, parent_watch
from app.processes.application import create_application
from app.processes.clients import amazon_sign_in, events_client, oidc_client
from app.processes.deployment import deployment_rules
from app.processes.incident_jobs import incident_jobs
from app.processes.listeners import listen
from app.processes.monitoring_port import monitoring_port
from app.processes.resources import Resources, open_resources
from app.server.connection_limits import ConnectionLimits, allowed_connections
from app.server.server import HSTS_HEADERS, Server, respond_while_starting
from app.settings import Settings
from app.store.organisations.scope import NONE
from app.telemetry import Telemetry, configure_logging

POOL_SIZE = 6
_RESTART_AFTER_S = 1.0  # so that a lasting defect does not fill the log


def serve(settings: Settings, *, sockets: list[socket.socket] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in progress."""
    configure_logging(settings.log_level)
    uvloop.run(_serve(settings, sockets))


async def _serve(settings: Settings, sockets: list[socket.socket] | None) -> None:
    connections = allowed_connections(settings.max_connections)
    async with AsyncExitStack() as stack:
        listeners = sockets or [listen(settings, settings.port, "PORT")]
        resources = await respond_while_starting(
            stack.enter_async_context(open_resources(settings, role="api", pool_size=POOL_SIZE)),
            sockets=listeners,
            connections=connections,
        )
        application = await stack.enter_async_context(build_application(resources, connections=connections))
        server = Server(
            application,
            keep_alive_seconds=settings.keep_alive_seconds,
            # If several processes share the socket, other processes accept new connections, so no delay is
            # needed.
            shutdown_delay_s=0 if sockets else settings.shutdown_delay_seconds,
            limits=ConnectionLimits(
                head_s=settings.header_read_timeout_seconds,
                body_s=settings.body_read_timeout_seconds,
                body_rate=settings.body_min_bytes_per_second,
                connections=connections,
            ),
            registry=resources.telemetry.registry,
            admission=application.state.admission,
            headers=HSTS_HEADERS if settings.production else (),
        )
        # When the server stops, the readiness check fails and streams of live updates end.
        application.state.stopping = lambda: server.should_exit
        gc_tuning.freeze_and_relax()
        parent_watch.exit_with_parent()
        async with monitoring_port(resources, stopping=lambda: server.should_exit), incident_jobs(resources):
            await server.serve(sockets=listeners)


@asynccontextmanager
async def build_application(
    resources: Resources, *, connections: int | None = None
) -> AsyncIterator[FastAPI]:
    """Build the web application, and run ingest and the other background tasks during the block.

    `connections` is the connection limit of the process. The default is MAX_CONNECTIONS.
    """
    settings = resources.settings
    deployment = deployment_rules(settings)
    intake = build_ingest(resources, deployment)
    queue_ages = QueueAgeMonitor(
        pool=resources.pool, max_age=deployment.max_age, jitter=random.random, telemetry=resources.telemetry
    )
    client = events_client(settings)
    sign_in = amazon_sign_in(settings)
    bootstrap = settings.bootstrap_admin_key
    people = oidc_client(settings)
    context = AppContext(
        engine=resources.engine_of(NONE),
        vault=resources.vault,
        sign_in=sign_in,
        find_advertiser=partial(find_advertiser, client),
        send_conversions=client.send,
        # A copy, because ingest changes the number of its writer when a row of its counts is locked.
        delivery_control=DeliveryControl(resources.pool, replace(resources.writer), resources.telemetry),
        public_url=settings.public_url,
        development=not settings.production,
        publishes_reference=settings.publish_metrics_and_docs,
        amazon_configured=bool(settings.amazon_client_id and settings.amazon_client_secret),
        callback_configured=settings.status_callback_url is not None,
        bootstrap_key_digest=(secret_digest(bootstrap.get_secret_value()) if bootstrap else None),
        people=people,
        people_claims=PersonClaims(
            settings.oidc_role_claim, settings.oidc_roles, settings.oidc_organisation_claim
        ),
        key_sign_in=settings.console_key_sign_in,
        registry=resources.telemetry.registry,
        spans=resources.telemetry.spans,
        now=resources.clock.now,
        readiness=resources.readiness,
        pepper=resources.pepper,
        deployment=deployment,
        intake=intake,
        bounds=Limits(
            target_latency_s=settings.target_latency_ms / 1000,
            body_bytes=settings.max_body_bytes_in_flight,
            resident_bytes=settings.api_memory_bytes,
            connections=connections or settings.max_connections,
        ),
        late=queue_ages.overdue,
        pool=resources.pool,
        channels=settings.notification_channels,
        rejection_days=settings.rejection_retention_days,
    )
    flush = _keep_running("flush", intake.run, resources.telemetry)
    flush_task = asyncio.create_task(flush, name="flush")
    application = create_application(context)
    organisations: OrganisationCache = application.state.organisations
    background: dict[str, Callable[[], Awaitable[None]]] = {
        "notify": intake.notifier.run,
        "sample": intake.sampler.run_sampling,
        "write_samples": intake.sampler.run_writing,
        "count_repeated_ids": intake.repeated.run,
        "shadow": intake.shadows.run,
        "rejections": intake.recorder.run,
        "queue_age": queue_ages.run,
        "inbound_limits": partial(organisations.limits.run, resources.pool, resources.telemetry),
        "refresh": partial(
            keep_fresh, (application.state.key_ring.refresh, organisations.refresh), resources.telemetry
        ),
    }
    tasks = [
        asyncio.create_task(_keep_running(name, job, resources.telemetry), name=name)
        for name, job in background.items()
    ]
    try:
        yield application
    finally:
        intake.close()
        await flush_task
        # Before the end of the tasks: a write that is cancelled loses its records.
        await intake.recorder.write()
        for task in tasks:
            task.cancel()
        await client.aclose()
        await sign_in.aclose()
        if people is not None:
            await people.aclose()


async def _keep_running(name: str, job: Callable[[], Awaitable[None]], telemetry: Telemetry) -> None:
    """Run a background job until it ends. After a defect, log the defect and begin the job again."""
    while True:
        try:
            return await job()
        except Exception as defect:
            telemetry.failed("job.failed", defect, level=40, job=name)
        await asyncio.sleep(_RESTART_AFTER_S)


def build_ingest(resources: Resources, deployment: DeploymentRules) -> Intake:
    """Build ingest. The caller runs it and its background jobs."""
    settings, pool, telemetry = resources.settings, resources.pool, resources.telemetry
    now = resources.clock.now
    notifier = Notifier(pool, settings.merge_window_ms / 4_000, telemetry)
    writer = FlushWriter(resources.vault, resources.writer)
    evaluator = Evaluator(DestinationCache(deployment), resources.pepper, resources.clock)
    session = FlushSession(resources.connect, evaluator, writer, telemetry)
    return Intake(
        group_commit=GroupCommit(
            session, settings.flush_wait_ms / 1000, notifier.add, telemetry, resources.outcomes
        ),
        evaluator=evaluator,
        writer=writer,
        pool=pool,
        telemetry=telemetry,
        notifier=notifier,
        sampler=SchemaSampler(pool, resources.pepper, now, time.monotonic, telemetry),
        recorder=RejectionRecorder(pool, telemetry),
        repeated=RepeatedIdRecorder(pool, telemetry),
        shadows=ShadowRunner(pool, now, time.monotonic, random.random, telemetry),
    )
