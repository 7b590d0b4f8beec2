"""All pages of the console as one router."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.admin.refusals import ErrorCode, Refusal
from app.api.errors import catch_all
from app.api.query_parameters import ignores_unknown_parameters
from app.api.secured_route import Context, public
from app.console import (
    activate,
    consent_records,
    create_destination,
    destination,
    event_schema,
    events,
    keys,
    live_updates,
    mapping_editor,
    overview,
    preflight,
    publish,
    records,
    replay,
    search,
    sessions,
    sign_in,
    static_files,
)
from app.console.secured_page import SecuredPage

ROOMS: tuple[APIRouter, ...] = (
    static_files.router,
    sign_in.router,
    overview.router,
    create_destination.router,
    destination.router,
    live_updates.router,
    preflight.router,
    event_schema.router,
    mapping_editor.router,
    publish.router,
    activate.router,
    events.router,
    search.router,
    consent_records.router,
    replay.router,
    keys.router,
    records.router,
)

router = APIRouter(include_in_schema=False)
for room in ROOMS:
    router.include_router(room)

_elsewhere = APIRouter(route_class=SecuredPage, include_in_schema=False)


@_elsewhere.get("/console/{anywhere:path}", response_model=None)
@public
@catch_all
@ignores_unknown_parameters
async def nowhere(request: Request, anywhere: str, context: Context) -> Response:
    """Say on a page that there is nothing here."""
    request.state.visitor = await sessions.visitor_of(context, request)
    raise Refusal(
        ErrorCode.NOT_FOUND, "There is no such page. The list of destinations is a good place to start."
    )


router.include_router(_elsewhere)
