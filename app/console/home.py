"""The operations home: what needs attention, open incidents, all destinations, and the catalogue."""

from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.admin import catalog
from app.admin import incidents as incident_use_cases
from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.operations_home import read_home
from app.api.secured_route import Context, requires
from app.console import confirmations, home_view, pages
from app.console.destination import sign_in_origin
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.console.sessions import Visitor
from app.console.time_range import RangeName, RangeParameter, time_range
from app.domain.destination import Region
from app.domain.incidents.destination_condition import Condition
from app.store.destination_health import PageQuery, Sort

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

PAGE_SIZE: Final = 40
_INCIDENTS: Final = 10
_STALE_AFTER: Final = timedelta(seconds=30)

Search = Annotated[str, Query(max_length=200)]
Health = Annotated[Condition | None, Query()]
PageNumber = Annotated[int, Query(ge=1, le=10_000)]


@router.get("/console", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def home(
    request: Request,
    context: Context,
    visitor: CurrentVisitor,
    q: Search = "",
    health: Health = None,
    sort: Sort = Sort.TROUBLE,
    page: PageNumber = 1,
    range_name: RangeParameter = RangeName.DAY,
) -> Response:
    """Show the home page. A search as you type gets only the part below the search field."""
    content = await home_content(context, visitor, q, health, sort, page, range_name)
    if request.headers.get("hx-request"):
        return HTMLResponse(pages.part("home_live.html", visitor=visitor, **content))
    origins = dict.fromkeys(sign_in_origin(context, region) for region in Region)
    return pages.show(request, "home.html", leads_to=" ".join(origins), **content)


@router.get("/console/", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def slash() -> Response:
    """Redirect to the address without the slash."""
    return RedirectResponse("/console", 303)


@router.post("/console/acknowledge", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def acknowledge(context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Acknowledge an incident from the home page."""
    await incident_use_cases.acknowledge_incident(
        context, visitor.caller, form_text(form, "incident"), note=None
    )
    return confirmations.redirect(context, "/console", "acknowledged")


async def home_content(
    context: AppContext,
    visitor: Visitor,
    q: str,
    health: Condition | None,
    sort: Sort,
    page: int,
    range_name: RangeName,
) -> dict[str, Any]:
    """Return the content of the home page."""
    caller, chosen = visitor.caller, time_range(range_name, context.now())
    parameters = _parameters(q, health, sort, range_name)
    query = PageQuery(
        since=chosen.since,
        width=chosen.bucket,
        limit=PAGE_SIZE,
        offset=(page - 1) * PAGE_SIZE,
        search=q.strip() or None,
        condition=health,
        sort=sort,
        only=caller.only,
    )
    found = await read_home(context, caller, query, incident_limit=_INCIDENTS)
    may = home_view.Permissions(caller.may(Scope.DESTINATIONS_WRITE))
    live = {**parameters, "page": str(page)}
    return {
        "q": q,
        "health": health,
        "sort": sort,
        "filters": home_view.FILTERS,
        "chosen": chosen,
        "parameters": tuple(parameters.items()),
        "strip": home_view.strip(found.listing.conditions, parameters, health),
        "incidents": home_view.incident_rows(found.incidents, may),
        "open_incidents": found.open_incidents,
        "columns": [
            (column, column.sort and home_view.address(parameters, sort=column.sort))
            for column in home_view.COLUMNS
        ],
        "rows": home_view.destination_rows(found.listing.items, found.history, chosen),
        "pages": home_view.pages(page, PAGE_SIZE, found.listing.matching, parameters),
        "monitored_at": found.monitored_at,
        "is_stale": found.monitored_at is None or chosen.until - found.monitored_at > _STALE_AFTER,
        "searched": bool(q.strip()),
        "filtered": health is not None,
        "has_destinations": any(found.listing.conditions.values()),
        "types": catalog.search(q),
        "may_create": may.write and caller.destination_ids is None,
        "live": f"/console/live?{urlencode(live)}",
    }


def _parameters(q: str, health: Condition | None, sort: Sort, range_name: RangeName) -> dict[str, str]:
    """Return the parameters of the page's address without defaults."""
    given = {"q": q, "health": health or "", "sort": sort, "range": range_name}
    defaults = {"q": "", "health": "", "sort": Sort.TROUBLE, "range": RangeName.DAY}
    return {name: str(value) for name, value in given.items() if value != defaults[name]}
