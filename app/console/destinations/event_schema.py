"""Event schema page of a destination.

It shows the paths and types of recent events, and never their values.
"""

from itertools import islice

from fastapi import APIRouter
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.destinations.event_schemas import read_observed
from app.api.access.secured_route import requires
from app.console import pages
from app.console.access.secured_page import CurrentDestination, CurrentVisit, SecuredPage
from app.console.destinations.page import PAGE, content_of
from app.console.wording import number, share
from app.domain.mapping.fields import FIELDS
from app.domain.suggestions.from_samples import fields_by_path

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_MAX_ROWS = 200


@router.get(PAGE + "/event-schema", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """List the paths of recent events: fill rate, types and suggested fields."""
    observed = await read_observed(visit.context, visit.caller, found.id)
    schema, fields = observed.schema, fields_by_path(observed.suggestion)
    rows = [
        {
            "path": entry.path,
            "percent": round(100 * entry.filled / schema.events),
            "share": share(entry.filled, schema.events),
            "types": ", ".join(entry.types),
            "forms": ", ".join(kind.replace("_", " ") for kind in sorted(entry.kinds)),
            "fields": ", ".join(FIELDS[name].label for name in fields.get(entry.path, ()) if name in FIELDS),
        }
        for entry in islice(schema.entries.values(), _MAX_ROWS)
    ]
    return pages.show(
        visit.request,
        "event_schema.html",
        **content_of(visit, found, "mappings"),
        rows=rows,
        left_off=len(schema.entries) - len(rows),
        events=number(schema.events),
    )
