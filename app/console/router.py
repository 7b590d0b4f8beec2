"""All routes of the console in one router, with those that belong to no page and need no sign-in.

These are the address without a path, style sheets, scripts, the API reference at /docs (ADR 0041), and
unknown addresses. A script of the reference shows the OpenAPI description and sends requests.
"""

import asyncio
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import RedirectResponse, Response

from app.admin import ErrorCode, Refusal, require_found
from app.api.access.secured_route import Context, public
from app.api.http.query_parameters import ignores_unknown_parameters
from app.api.http.responses import fixed_document
from app.console import (
    audit,
    find,
    home,
    incidents,
    mappings,
    match_quality,
    organisations,
    pages,
    privacy,
    replays,
    system,
)
from app.console.access import keys, sessions, sign_in
from app.console.assets import ASSETS, compressed
from app.console.destinations import activate, page, requests
from app.console.events import history, lists
from app.console.mappings import editor
from app.console.visits import PageRouter
from app.domain.outcomes.reasons import REASONS

MODULES = (
    *(sign_in, keys, home, find),
    *(page, activate, requests, match_quality),
    *(mappings, editor),
    *(lists, history, replays, incidents),
    *(privacy, organisations, audit, system),
)

router = PageRouter()
router.routes += [route for module in MODULES for route in module.router.routes]


# `v` makes the address differ for caches. The response does not depend on it.
Version = Annotated[str, Query(max_length=64)]
_IMMUTABLE = "public, max-age=31536000, immutable"


@router.get("/console/static/{name}")
@public
async def asset(name: str, request: Request, v: Version = "") -> Response:
    """Return a file, compressed if the client accepts gzip."""
    del v
    found = require_found(ASSETS.get(name))
    headers = {"Cache-Control": _IMMUTABLE, "Vary": "Accept-Encoding"}
    is_gzip = "gzip" in request.headers.get("accept-encoding", "")
    headers |= {"Content-Encoding": "gzip"} if is_gzip else {}
    content = await asyncio.to_thread(lambda: compressed(found.name) if is_gzip else found.plain)
    return Response(content, media_type=found.media_type, headers=headers)


@router.get("/")
@public
async def root() -> Response:
    """Redirect to the console."""
    return RedirectResponse("/console", 303)


@router.get("/docs")
@public
async def api_reference(request: Request, context: Context) -> Response:
    """Show the API reference. Without JavaScript, show the list of operations."""

    def build() -> bytes:
        content = {"spec": request.app.openapi(), "reasons": REASONS.values()}
        return pages.part("api_reference.html", **content).encode()

    return await fixed_document(request, context, build, "text/html", pages.HEADERS)


@router.get("/console/{anywhere:path}")
@public
@ignores_unknown_parameters
async def not_found(request: Request, anywhere: str, context: Context) -> Response:
    """Answer an unknown address with the 404 page."""
    request.state.visitor = await sessions.visitor_of(context, request)
    raise Refusal(ErrorCode.NOT_FOUND, "This page does not exist. Start from the list of destinations.")
