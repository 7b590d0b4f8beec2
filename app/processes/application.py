"""Build the ASGI application from the routers, the request middleware and the endpoint of `POST /events`."""

import random
from dataclasses import replace
from functools import cache, partial
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute

from app.admin.context import AppContext
from app.api import (
    audit,
    catalog,
    destinations,
    errors,
    health,
    incidents,
    mappings,
    match_quality,
    organisations,
    privacy,
    replays,
)
from app.api.access import keys, sessions
from app.api.access.auth import KeyRing
from app.api.access.inbound_limits import OrganisationCache
from app.api.events import intake, reports
from app.api.http import openapi
from app.api.mappings import advertisers, trials
from app.console import confirmations, pages
from app.console.router import router as console_router
from app.health import metrics_text
from app.server.admission import AdmissionController, resident_bytes
from app.server.fast_events import Application, EventsEndpoint
from app.server.middleware import HeadRequests, RequestMiddleware
from app.store.organisations.scope import EVERY
from app.telemetry import VERSION

TITLE = "Amazon Conversions destination"

# A router that is added here is part of the application, of its OpenAPI description and of the tests. The
# description has the same order: `POST /events` comes first.
ROUTERS: tuple[APIRouter, ...] = (
    intake.router,
    destinations.router,
    destinations.sign_in_router,
    mappings.router,
    trials.router,
    advertisers.router,
    catalog.router,
    privacy.router,
    privacy.identity_router,
    privacy.subject_router,
    match_quality.identity_router,
    match_quality.router,
    keys.router,
    sessions.router,
    audit.router,
    organisations.router,
    reports.router,
    replays.router,
    incidents.router,
    health.router,
    openapi.router,
    console_router,
)


def create_application(context: AppContext) -> Application:
    """Return the ASGI application. This function opens and closes nothing: the process does."""
    app = Application(
        title=TITLE,
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        routes=_routes(),
        # A redirect would repeat the Host header of the client.
        redirect_slashes=False,
    )
    # The OAuth callback shows pages of the console, but `api` must not import `console`.
    app.state.not_connected_page = partial(pages.show, template="not_connected.html")
    app.state.connected_page = confirmations.redirect
    # An API key or a session belongs to an organisation that is unknown until its row is read.
    every = context.within(EVERY)
    keys_in_use = KeyRing(every.engine, bootstrap=context.bootstrap_key_digest, monotonic=context.monotonic)
    organisations_in_use = OrganisationCache(every.engine, monotonic=context.monotonic)
    app.state.key_ring = keys_in_use
    app.state.organisations = organisations_in_use
    context = replace(context, forget_key=keys_in_use.forget, forget_organisation=organisations_in_use.forget)
    app.state.context = context
    app.state.fixed_documents = {}
    app.state.metrics = metrics_text(context.registry, context.monotonic)
    app.state.stopping = lambda: False  # the process sets its own
    results = context.readiness.outcomes
    errors.install_error_handlers(app)
    app.state.admission = AdmissionController(
        bounds=context.bounds,
        registry=context.registry,
        monotonic=context.monotonic,
        jitter=random.random,
        flush_age_s=(lambda: 0.0) if results is None else results.flush_age_s,
        known_caller=keys_in_use.known_caller,
        resident_bytes=resident_bytes,
    )
    middleware = RequestMiddleware(
        HeadRequests(app.framework),
        registry=context.registry,
        admission=app.state.admission,
        spans=context.spans,
    )
    app.events_endpoint = EventsEndpoint(
        context, keys_in_use, organisations_in_use, app.state.admission, middleware
    )
    app.request_middleware = middleware
    app.openapi = cache(lambda: openapi.describe(app, context.public_url))  # type: ignore[method-assign]
    return app


def api_description(public_url: str) -> dict[str, Any]:
    """Return the OpenAPI description without a database or a running process."""
    return openapi.describe(FastAPI(title=TITLE, version=VERSION, routes=_routes()), public_url)


@cache
def _routes() -> list[BaseRoute]:
    """Return the routes of all resources. They hold no state, so tests with many applications share them.

    `include_router` would build each route twice: 4 MB.
    """
    return [route for router in ROUTERS for route in router.routes]
