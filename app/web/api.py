"""The web, assembled: every route behind its door, inside one envelope."""

import random
from typing import Any

from fastapi import APIRouter, FastAPI

from app.web import (
    advertisers,
    audit,
    catalog,
    consent_records,
    destinations,
    docs,
    errors,
    events,
    hashing,
    health,
    keys,
    learned,
    lifecycle,
    mappings,
    oauth,
    openapi,
    preflight,
    preview,
    replay,
    status_callback,
    subjects,
    tracing,
)
from app.web.auth import KeyRing
from app.web.console.router import router as console_router
from app.web.envelope import Envelope
from app.web.health import Readiness
from app.web.pressure import Gauges, resident_bytes
from app.web.shortcut import Shortcut
from app.web.wiring import Wiring

TITLE = "Amazon Conversions destination"
VERSION = "0.1.0"

# One line for each resource. A router added here is in the application, the description and the tests.
ROUTERS: tuple[APIRouter, ...] = (
    destinations.router,
    lifecycle.router,
    oauth.router,
    preflight.router,
    mappings.router,
    preview.router,
    learned.router,
    advertisers.router,
    catalog.router,
    consent_records.router,
    hashing.router,
    keys.router,
    audit.router,
    events.router,
    tracing.router,
    replay.router,
    status_callback.router,
    subjects.router,
    health.router,
    docs.router,
    console_router,
)


def create_api(wiring: Wiring) -> FastAPI:
    """Return the ASGI application. It opens and closes nothing: the root owns what is in `wiring`."""
    app = FastAPI(
        title=TITLE,
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A redirect would name the host that the client claims to have asked for.
        redirect_slashes=False,
    )
    app.state.wiring = wiring
    app.state.key_ring = KeyRing(
        wiring.engine, bootstrap=wiring.bootstrap_key_digest, monotonic=wiring.monotonic
    )
    app.state.readiness = Readiness(wiring.engine, wiring.monotonic)
    for router in ROUTERS:
        app.include_router(router)
    errors.install(app)
    app.add_middleware(Shortcut)
    app.state.gauges = Gauges(
        bounds=wiring.bounds,
        registry=wiring.registry,
        monotonic=wiring.monotonic,
        jitter=random.random,
        waiting_events=wiring.events_waiting,
        resident_bytes=resident_bytes,
    )
    app.add_middleware(
        Envelope, registry=wiring.registry, monotonic=wiring.monotonic, gauges=app.state.gauges
    )
    _describe_once(app)
    return app


def _describe_once(app: FastAPI) -> None:
    described: dict[str, Any] = {}

    def describe() -> dict[str, Any]:
        if not described:
            described.update(openapi.describe(app))
        return described

    app.openapi = describe  # type: ignore[method-assign]
