"""Live tail: the newest accepted and rejected events of one destination or of all destinations.

It shows no values.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.event_search import destination_names, search_events
from app.admin.refusals import Refusal
from app.api.access.secured_route import requires
from app.console import pages
from app.console.access.secured_page import CurrentVisit, SecuredPage, Visit, polled
from app.console.event_filter import EventParameters, Events
from app.console.live_updates import Panel, streamed
from app.console.search import MOST_LISTED
from app.console.wording import EVENT_STATUSES
from app.domain.conversion.event_types import EVENT_TYPES

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

ROWS: Final = 60
_Text = Annotated[str, Query(max_length=256)]
_Id = Annotated[str, Query(max_length=64)]


@router.get("/console/tail", response_model=None)
@requires(Scope.EVENTS_READ)
async def page(visit: CurrentVisit, query: Events, q: _Text = "", destination: _Id = "") -> Response:
    """Show the newest events. Scripts keep the page current."""
    names = await destination_names(visit.context, visit.caller, limit=MOST_LISTED + 1)
    parameters = [("q", q.strip()), ("destination", destination), *query.parameters]
    return pages.show(
        visit.request,
        "tail.html",
        q=q.strip(),
        destination=destination,
        destinations=names if len(names) <= MOST_LISTED else None,
        query=query,
        stream=f"/console/tail/live?{urlencode([pair for pair in parameters if pair[1]])}",
        rows_shown=ROWS,
        **await _content(visit, query, q, destination),
    )


@router.get("/console/tail/live", response_model=None)
@requires(Scope.EVENTS_READ)
@polled
async def live(visit: CurrentVisit, query: Events, q: _Text = "", destination: _Id = "") -> Response:
    """Stream the newest events for at most five minutes. The browser then connects again."""
    await _content(visit, query, q, destination)  # validates the same parameters as the page

    async def read() -> Panel | None:
        try:
            content = await _content(visit, query, q, destination)
        except Refusal:
            return None
        return Panel(pages.part("tail_part.html", **content))

    return streamed(visit, read)


async def _content(visit: Visit, query: EventParameters, q: str, destination: str) -> Mapping[str, Any]:
    found = await search_events(
        visit.context,
        visit.caller,
        query.events(None, q.strip() or None),
        destination_id=destination or None,
        rejected=query.rejected,
        limit=ROWS,
    )
    return {
        "items": pages.plain(found.items),
        "statuses": EVENT_STATUSES,
        "types": EVENT_TYPES,
        "with_destination": not destination,
        "unreadable": found.unreadable_batches,
    }
