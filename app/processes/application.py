"""The web, assembled: every route behind its door, inside one envelope."""

import random
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.admin.context import AppContext
from app.api import (
    advertisers,
    audit,
    catalog,
    consent_records,
    destinations,
    docs,
    erasures,
    errors,
    event_reports,
    event_schema,
    events,
    hashing,
    health,
    keys,
    mappings,
    oauth,
    openapi,
    preflight,
    preview,
    replay,
    status_callback,
)
from app.api.auth import KeyRing
from app.api.health import API, Readiness
from app.console import pages
from app.console.router import router as console_router
from app.server.admission import AdmissionController, resident_bytes
from app.server.fast_events import EventsEndpoint
from app.server.head_requests import HeadRequests
from app.server.loop_limiter import LoopLimiter
from app.server.middleware import RequestMiddleware
from app.server.shortcut import Shortcut

TITLE = "Amazon Conversions destination"
VERSION = "0.1.0"

# One line for each resource. A router added here is in the application, the description and the tests.
ROUTERS: tuple[APIRouter, ...] = (
    destinations.router,
    oauth.router,
    preflight.router,
    mappings.router,
    preview.router,
    event_schema.router,
    advertisers.router,
    catalog.router,
    consent_records.router,
    hashing.router,
    keys.router,
    audit.router,
    events.router,
    event_reports.router,
    replay.router,
    status_callback.router,
    erasures.router,
    health.router,
    docs.router,
    console_router,
)


class Application(FastAPI):
    """The framework's application behind an entrance of its own.

    The framework puts three layers around all that is added to it, and `POST /events` needs none of them:
    the envelope answers whatever breaks, and caps bodies.
    """

    entrance: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self.entrance(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Leave out the outermost layer, which would answer what is unforeseen; the envelope does that."""
        outermost = super().build_middleware_stack()
        assert isinstance(outermost, ServerErrorMiddleware)
        return outermost.app

    async def framework(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the framework does."""
        await super().__call__(scope, receive, send)


def create_application(context: AppContext) -> Application:
    """Return the ASGI application. It opens and closes nothing: the root owns what is in `wiring`."""
    app = Application(
        title=TITLE,
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A redirect would name the host that the client claims to have asked for.
        redirect_slashes=False,
    )
    app.state.context = context
    # The OAuth callback shows a console page, and `api` does not import `console`.
    app.state.not_connected_page = partial(pages.show, template="not_connected.html")
    app.state.key_ring = KeyRing(
        context.engine, bootstrap=context.bootstrap_key_digest, monotonic=context.monotonic
    )
    app.state.readiness = Readiness(
        context.engine, context.monotonic, role=API, outcomes=context.outcomes, clock=context.clock
    )
    for router in ROUTERS:
        app.include_router(router)
    errors.install_error_handlers(app)
    app.state.admission = AdmissionController(
        bounds=context.bounds,
        registry=context.registry,
        monotonic=context.monotonic,
        jitter=random.random,
        waiting_events=context.events_waiting,
        resident_bytes=resident_bytes,
    )
    loop_limiter = LoopLimiter()
    middleware = RequestMiddleware(
        HeadRequests(app.framework),
        registry=context.registry,
        monotonic=context.monotonic,
        admission=app.state.admission,
        loop_limiter=loop_limiter,
    )
    app.state.events_endpoint = EventsEndpoint(
        context=context,
        key_ring=app.state.key_ring,
        admission=app.state.admission,
        loop_limiter=loop_limiter,
        middleware=middleware,
        monotonic=context.monotonic,
    )
    app.entrance = Shortcut(app.state.events_endpoint, middleware)
    _describe_once(app)
    return app


def _describe_once(app: FastAPI) -> None:
    described: dict[str, Any] = {}

    def describe() -> dict[str, Any]:
        if not described:
            described.update(openapi.describe(app))
        return described

    app.openapi = describe  # type: ignore[method-assign]
