"""Event schema page of a destination: observed paths and kinds of values, never values."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.destinations import find_visible
from app.api import event_schema
from app.api.secured_route import Context, requires
from app.console import pages
from app.console.destination import PAGE, content_of
from app.console.secured_page import CurrentVisitor, SecuredPage
from app.console.wording import number, share
from app.domain.mapping.fields import FIELDS

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_MAX_ROWS = 500


@router.get(PAGE + "/event-schema", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(request: Request, destination_id: str, context: Context, visitor: CurrentVisitor) -> Response:
    """List the paths of recent events: fill rate, types and suggested fields."""
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
    schema = await event_schema.event_schema_of(destination_id, visitor.caller, context)
    rows = [
        {
            "path": entry["path"],
            "percent": round(100 * entry["fill_rate"]),
            "share": share(round(10_000 * entry["fill_rate"]), 10_000),
            "types": ", ".join(f"{name}" for name in entry["types"]),
            "forms": ", ".join(form.replace("_", " ") for form in entry["forms"]),
            "fields": ", ".join(FIELDS[name].label for name in entry["suggested_for"] if name in FIELDS),
        }
        for entry in schema["items"]
    ]
    return pages.show(
        request,
        "event_schema.html",
        **content_of(context, found, visitor, "mappings"),
        rows=rows[:_MAX_ROWS],
        left_off=max(0, len(rows) - _MAX_ROWS),
        events=number(schema["events"]),
    )
