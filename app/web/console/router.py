"""Every room of the console, as one router."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.web.console import (
    activating,
    catalogue_page,
    consent_pages,
    creating,
    destination_page,
    editing,
    events_pages,
    keys_pages,
    live,
    overview,
    preflight_pages,
    publishing_pages,
    records_pages,
    replaying_pages,
    search_pages,
    sign_in,
    static_files,
    visitors,
)
from app.web.console.entrance import Entrance
from app.web.door import Wired, open_to_all
from app.web.errors import Refusal, Word, catch_all
from app.web.queries import ignores_unknown_parameters

ROOMS: tuple[APIRouter, ...] = (
    static_files.router,
    sign_in.router,
    overview.router,
    creating.router,
    destination_page.router,
    live.router,
    preflight_pages.router,
    catalogue_page.router,
    editing.router,
    publishing_pages.router,
    activating.router,
    events_pages.router,
    search_pages.router,
    consent_pages.router,
    replaying_pages.router,
    keys_pages.router,
    records_pages.router,
)

router = APIRouter(include_in_schema=False)
for room in ROOMS:
    router.include_router(room)

_elsewhere = APIRouter(route_class=Entrance, include_in_schema=False)


@_elsewhere.get("/console/{anywhere:path}", response_model=None)
@open_to_all
@catch_all
@ignores_unknown_parameters
async def nowhere(request: Request, anywhere: str, wired: Wired) -> Response:
    """Say on a page that there is nothing here."""
    request.state.visitor = await visitors.visitor_of(wired, request)
    raise Refusal(Word.NOT_FOUND, "There is no such page. The list of destinations is a good place to start.")


router.include_router(_elsewhere)
