"""The event schema learned from accepted events."""

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.destinations.event_schemas import ObservedEvents, read_observed
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.api.paging import Paging, cursor_of
from app.domain.suggestions.suggest import fields_by_path, paths_by_field

router = APIRouter(route_class=SecuredRoute, tags=["mappings"])


class PathView(ResponseBody):
    """A path that occurs in recent events."""

    path: str
    types: dict[str, float] = Field(description="The share of each JSON type (0 to 1).")
    forms: list[str]
    fill_rate: float
    suggested_for: list[str]


class EventSchemaView(ResponseBody):
    """A page of the paths of recent events."""

    events: int = Field(description="The number of events from which the figures are computed.")
    items: list[PathView]
    next_cursor: str | None
    suggestions: dict[str, list[str]] = Field(
        description="The paths that a suggested mapping reads, by field."
    )


@router.get("/destinations/{destination_id}/event-schema", summary="Read the event schema")
@requires(Scope.DESTINATIONS_READ)
async def read(
    destination_id: str, caller: CurrentCaller, context: Context, paging: Paging
) -> EventSchemaView:
    """List the paths of the newest events, with types, fill rate and suggested fields.

    The paths come from stored samples, which contain no values.
    """
    observed = await read_observed(context, caller, destination_id)
    begin = paging.number or 0
    end = begin + paging.limit
    following = cursor_of(context, end) if end < len(observed.schema.entries) else None
    return await context.compute(_page, observed, begin, end, following)


def _page(observed: ObservedEvents, begin: int, end: int, next_cursor: str | None) -> EventSchemaView:
    schema = observed.schema
    entries = list(schema.entries.values())
    fields = fields_by_path(observed.suggestion)
    return EventSchemaView(
        events=schema.events,
        items=[
            PathView(
                path=entry.path,
                types={name: share(times, entry.present) for name, times in entry.types.items()},
                forms=sorted(entry.kinds),
                fill_rate=share(entry.filled, schema.events),
                suggested_for=fields.get(entry.path, []),
            )
            for entry in entries[begin:end]
        ],
        next_cursor=next_cursor,
        suggestions=paths_by_field(observed.suggestion),
    )


def share(part: int, whole: int) -> float:
    """Return a share between 0 and 1, rounded to four places."""
    return round(part / whole, 4) if whole else 0.0
