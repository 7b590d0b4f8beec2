"""All routes of the console in one router."""

from fastapi import Request
from starlette.responses import Response

from app.admin.refusals import ErrorCode, Refusal
from app.api.access.secured_route import Context, public
from app.api.errors import catch_all
from app.api.http.query_parameters import ignores_unknown_parameters
from app.console import (
    audit,
    find,
    home,
    incidents,
    live_updates,
    mappings,
    match_quality,
    organisations,
    privacy,
    replays,
    static_files,
    system,
)
from app.console.access import keys, sessions, sign_in
from app.console.access.secured_page import page_router
from app.console.destinations import activate, page, requests, settings
from app.console.events import history, lists
from app.console.incidents import notifications
from app.console.mappings import editor, event_names, publish, versions
from app.console.privacy import consent_records

ROUTERS = (
    static_files.router,
    sign_in.router,
    home.router,
    find.router,
    settings.router,
    page.router,
    live_updates.router,
    requests.router,
    match_quality.router,
    mappings.router,
    editor.router,
    publish.router,
    versions.router,
    activate.router,
    consent_records.router,
    history.router,
    lists.router,
    replays.router,
    incidents.router,
    notifications.router,
    event_names.router,
    system.router,
    keys.router,
    privacy.router,
    organisations.router,
    audit.router,
)

router = page_router()
router.routes += [route for part in ROUTERS for route in part.routes]


@router.get("/console/{anywhere:path}")
@public
@catch_all
@ignores_unknown_parameters
async def not_found(request: Request, anywhere: str, context: Context) -> Response:
    """Answer an unknown address with the 404 page."""
    request.state.visitor = await sessions.visitor_of(context, request)
    raise Refusal(ErrorCode.NOT_FOUND, "This page does not exist. Start from the list of destinations.")
