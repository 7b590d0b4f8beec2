"""The search in the header of every page. It finds pages, destinations and mappings by name.

Any other text is searched as an id among the events.
"""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Query
from starlette.responses import RedirectResponse, Response

from app.admin import Scope
from app.admin.destinations.settings import list_destinations
from app.admin.mappings.mappings import search_mappings
from app.console.pages import navigation_of
from app.console.visits import CurrentVisit, PageRouter
from app.store.destinations.destinations import DestinationFilter

router = PageRouter()

_MOST = 8  # of each kind


@router.get("/console/find", *Scope)
async def find(visit: CurrentVisit, q: Annotated[str, Query(max_length=256)] = "") -> Response:
    """Show what has these words in its name. Without a result, search the events for this id."""
    words, caller = q.strip(), visit.caller
    navigation = navigation_of(visit.visitor, "")
    found = [item for item in (*navigation.main, *navigation.more) if words.lower() in item.label.lower()]
    destinations, mappings = [], []
    if words and caller.may(Scope.DESTINATIONS_READ):
        destinations = await list_destinations(visit.context, DestinationFilter(words), limit=_MOST + 1)
        mappings = await search_mappings(visit.context, words, limit=_MOST + 1)
    searches_events = bool(words) and caller.may(Scope.EVENTS_READ)
    content: dict[str, Any] = {
        "q": words,
        "pages": found if words else [],
        "destinations": destinations,
        "mappings": mappings,
        "names": await visit.names(mapping.destination for mapping in mappings),
        "searches_events": searches_events,
        "most": _MOST,
    }
    if visit.request.headers.get("hx-request"):
        return visit.part("find_part.html", **content)
    if searches_events and not (found or destinations or mappings):
        return RedirectResponse(f"/console/events?{urlencode({'q': words})}", 303)
    return await visit.show("find.html", **content)
