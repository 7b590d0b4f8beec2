"""All routes of the console in one router."""

from fastapi import Request
from starlette.responses import Response

from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import Context, public
from app.api.http.query_parameters import ignores_unknown_parameters
from app.console import (
    audit,
    find,
    home,
    incidents,
    mappings,
    match_quality,
    organisations,
    privacy,
    replays,
    static_files,
    system,
)
from app.console.access import keys, sessions, sign_in
from app.console.access.secured_page import PageRouter
from app.console.destinations import activate, page, requests, settings
from app.console.events import history, lists
from app.console.incidents import notifications
from app.console.mappings import editor, publish

# `settings` is before `page`: the address of a new destination is no id.
MODULES = (
    *(static_files, sign_in, keys, home, find),
    *(settings, page, activate, requests, match_quality),
    *(mappings, editor, publish),
    *(lists, history, replays, incidents, notifications),
    *(privacy, organisations, audit, system),
)

router = PageRouter()
router.routes += [route for module in MODULES for route in module.router.routes]


@router.get("/console/{anywhere:path}")
@public
@ignores_unknown_parameters
async def not_found(request: Request, anywhere: str, context: Context) -> Response:
    """Answer an unknown address with the 404 page."""
    request.state.visitor = await sessions.visitor_of(context, request)
    raise Refusal(ErrorCode.NOT_FOUND, "This page does not exist. Start from the list of destinations.")
