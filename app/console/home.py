"""The operations home: what needs attention, open incidents, all destinations, and the catalogue."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.admin import catalog
from app.admin.access import Scope
from app.admin.incidents import acknowledge_incident
from app.admin.operations_home import read_home
from app.api.access.secured_route import requires
from app.console import confirmations, home_view, pages
from app.console.access.secured_page import CurrentVisit, Form, SecuredPage, Visit, form_text
from app.console.destinations.page import sign_in_origin
from app.console.time_range import PARAMETER, RangeName, RangeParameter, time_range
from app.domain.destination import Region
from app.domain.incidents.destination_condition import Condition
from app.store.destinations.health import PageQuery, Sort

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

PAGE_SIZE: Final = 40
_INCIDENTS: Final = 10
_STALE_AFTER: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class HomeQuery:
    """The query parameters of the home page. `page` is the page of the table, from 1."""

    q: Annotated[str, Query(max_length=200)] = ""
    health: Condition | None = None
    sort: Sort = Sort.TROUBLE
    page: Annotated[int, Query(ge=1, le=10_000)] = 1
    range_name: RangeParameter = RangeName.DAY

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters that differ from their default, without `page`."""
        given = (
            ("q", self.q, ""),
            ("health", self.health, None),
            ("sort", self.sort, Sort.TROUBLE),
            (PARAMETER, self.range_name, RangeName.DAY),
        )
        return {name: str(value) for name, value, default in given if value != default}


HomeParameters = Annotated[HomeQuery, Depends()]


@router.get("/console", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def home(visit: CurrentVisit, query: HomeParameters) -> Response:
    """Show the home page. A search as you type gets only the part below the search field."""
    content = await home_content(visit, query)
    if visit.request.headers.get("hx-request"):
        return HTMLResponse(pages.part("home_live.html", visitor=visit.visitor, **content))
    origins = dict.fromkeys(sign_in_origin(visit.context, region) for region in Region)
    return pages.show(visit.request, "home.html", leads_to=" ".join(origins), **content)


@router.get("/console/", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def slash() -> Response:
    """Redirect to the address without the slash."""
    return RedirectResponse("/console", 303)


@router.post("/console/acknowledge", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def acknowledge(visit: CurrentVisit, form: Form) -> Response:
    """Acknowledge an incident from the home page."""
    await acknowledge_incident(visit.context, visit.caller, form_text(form, "incident"), note=None)
    return confirmations.redirect(visit.context, "/console", "acknowledged")


async def home_content(visit: Visit, query: HomeQuery) -> dict[str, Any]:
    """Return the content of the home page."""
    caller, chosen = visit.caller, time_range(query.range_name, visit.context.now())
    parameters, text = query.parameters, query.q.strip()
    wanted = PageQuery(
        since=chosen.since,
        width=chosen.bucket,
        limit=PAGE_SIZE,
        offset=(query.page - 1) * PAGE_SIZE,
        search=text or None,
        condition=query.health,
        sort=query.sort,
        only=caller.only,
    )
    found = await read_home(visit.context, caller, wanted, incident_limit=_INCIDENTS)
    may_write = caller.may(Scope.DESTINATIONS_WRITE)
    return {
        "q": query.q,
        "health": query.health,
        "sort": query.sort,
        "filters": home_view.FILTERS,
        "chosen": chosen,
        "parameters": tuple(parameters.items()),
        "strip": home_view.strip(found.listing.conditions, parameters, query.health),
        "incidents": home_view.incident_rows(found.incidents, may_write=may_write),
        "open_incidents": found.open_incidents,
        "columns": [
            (column, column.sort and home_view.address(parameters, sort=column.sort))
            for column in home_view.COLUMNS
        ],
        "rows": home_view.destination_rows(found.listing.items, found.history, chosen),
        "pages": home_view.pages(query.page, PAGE_SIZE, found.listing.matching, parameters),
        "monitored_at": found.monitored_at,
        "is_stale": found.monitored_at is None or chosen.until - found.monitored_at > _STALE_AFTER,
        "searched": bool(text),
        "filtered": query.health is not None,
        "has_destinations": any(found.listing.conditions.values()),
        "types": catalog.search(text),
        "may_create": may_write and caller.destination_ids is None,
        "live": f"/console/live?{urlencode({**parameters, 'page': query.page})}",
    }
