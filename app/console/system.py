"""The system page: processes, lanes of each worker, database, keys, clock, maintenance, balance."""

import sys

from fastapi import APIRouter
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.system import read_system
from app.api.access.secured_route import requires
from app.console import pages, system_view
from app.console.access.secured_page import CurrentVisit, SecuredPage
from app.telemetry import VERSION

router = APIRouter(route_class=SecuredPage, include_in_schema=False)


@router.get("/console/system", response_model=None)
@requires(Scope.DESTINATIONS_READ, Scope.ORGANISATIONS_ADMIN)
async def page(visit: CurrentVisit) -> Response:
    """Show the state of this installation. Only platform users see totals of all organisations."""
    state, with_totals = await read_system(visit.context, visit.caller), visit.caller.is_platform
    return pages.show(
        visit.request,
        "system.html",
        checks=system_view.checks(state, with_totals=with_totals),
        state=state,
        with_totals=with_totals,
        facts=system_view.facts(
            state, version=VERSION, python=sys.version.split()[0], with_totals=with_totals
        ),
        keys=system_view.keys(state),
        session_label=system_view.session_label,
    )
