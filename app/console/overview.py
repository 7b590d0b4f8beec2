"""All Destinations: the list of destinations and the catalogue."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.admin import catalog
from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import public_view
from app.api.paging import Cursor, cursor_of, number_of, split_page
from app.api.secured_route import Context, requires
from app.console import pages
from app.console.overview_view import DAYS, OverviewRow, rows
from app.console.secured_page import CurrentVisitor, SecuredPage
from app.domain.destination import State
from app.store import destinations as stored
from app.store import metrics

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_PAGE_SIZE = 50
Search = Annotated[str, Query(max_length=200)]


@router.get("/console", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def overview(
    request: Request,
    context: Context,
    visitor: CurrentVisitor,
    q: Search = "",
    state: Annotated[State | None, Query()] = None,
    cursor: Cursor = None,
) -> Response:
    """Show the list and the catalogue; for a live search, only the results."""
    async with context.engine.connect() as connection:
        found = await stored.page(
            connection,
            limit=_PAGE_SIZE + 1,
            after=number_of(cursor),
            search=q.strip() or None,
            state=state,
            only=visitor.caller.only,
        )
    items, has_more = split_page(found, _PAGE_SIZE)
    content: dict[str, Any] = {
        "q": q,
        "state": None if state is None else state.value,
        "types": catalog.search(q),
        "rows": await _rows(context, items),
        "searched": bool(q.strip()) or state is not None,
        "next_cursor": cursor_of(items[-1].number) if has_more else None,
        "may_create": visitor.caller.may(Scope.DESTINATIONS_WRITE) and visitor.caller.destination_ids is None,
    }
    if request.headers.get("hx-request"):
        return HTMLResponse(pages.part("overview_part.html", **content))
    return pages.show(request, "overview.html", **content)


@router.get("/console/", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def slash() -> Response:
    """Redirect to the address without the slash."""
    return RedirectResponse("/console", 303)


async def _rows(context: AppContext, items: Sequence[stored.Destination]) -> list[OverviewRow]:
    ids = {item.number: str(item.id) for item in items}
    async with context.pool.acquire() as connection:
        days = defaultdict(list)
        for day in await metrics.days(connection, list(ids), DAYS):
            days[ids[day.destination]].append(day)
        last = await metrics.last_answers(connection, list(ids))
    today = context.now().astimezone(UTC).date()
    views = [pages.plain(public_view(item)) for item in items]
    return rows(views, days, {ids[number]: time for number, time in last.items()}, today)
