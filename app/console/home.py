"""The operations home: what needs attention, open incidents, all destinations, and the catalogue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Query
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse, Response

from app.admin import Scope, catalog
from app.admin.operations_home import read_home
from app.console.incidents import present
from app.console.live_updates import streamed
from app.console.time_range import PARAMETER, RangeName, TimeRange, time_range
from app.console.visits import CurrentVisit, PageRouter, Visit
from app.console.wording import Label, health_label, number
from app.domain.destination import Region
from app.domain.ids import DestinationNumber
from app.domain.incidents.health import Condition
from app.domain.incidents.kinds import Kind, failure_of, failure_sentence
from app.domain.incidents.thresholds import DEFAULTS
from app.store.destinations.health import ListedDestination, PageQuery, Sort
from app.store.destinations.outcome_history import OutcomeBucket

router = PageRouter()

PAGE_SIZE: Final = 40
_INCIDENTS: Final = 10
HOME_POLL_INTERVAL_S: Final = 5.0  # each poll reads all destinations
_STALE_AFTER: Final = timedelta(seconds=30)


class HomeQuery(BaseModel, frozen=True):
    """The query parameters of the home page. `page` is the page of the table, from 1."""

    q: Annotated[str, Field(max_length=200)] = ""
    health: Condition | None = None
    sort: Sort = Sort.TROUBLE
    page: Annotated[int, Field(ge=1, le=10_000)] = 1
    range_name: RangeName = Field(default=RangeName.DAY, alias=PARAMETER)

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters that differ from their default, without `page`."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"page"})


HomeParameters = Annotated[HomeQuery, Query()]


@router.get("/console", Scope.DESTINATIONS_READ)
async def home(visit: CurrentVisit, query: HomeParameters) -> Response:
    """Show the home page. A search as you type gets only the part below the search field."""
    content = await _content(visit, query)
    if visit.request.headers.get("hx-request"):
        return visit.part("home_live.html", **content)
    origins = dict.fromkeys(visit.sign_in_origin(region) for region in Region)
    return await visit.show("home.html", leads_to=" ".join(origins), **content)


@router.get("/console/live", Scope.DESTINATIONS_READ)
async def live(visit: CurrentVisit, query: HomeParameters) -> Response:
    """Stream the page while it is open."""
    return streamed(visit, "home_part.html", lambda _: _content(visit, query), every_s=HOME_POLL_INTERVAL_S)


@router.get("/console/", Scope.DESTINATIONS_READ)
async def slash() -> Response:
    """Redirect to the address without the slash."""
    return RedirectResponse("/console", 303)


async def _content(visit: Visit, query: HomeQuery) -> dict[str, Any]:
    """Return the content of the home page."""
    caller, now, parameters, text = visit.caller, visit.context.now(), query.parameters, query.q.strip()
    chosen = time_range(query.range_name, now)
    wanted = PageQuery(
        since=chosen.since,
        width=chosen.name.bucket,
        limit=PAGE_SIZE,
        offset=(query.page - 1) * PAGE_SIZE,
        search=text or None,
        condition=query.health,
        sort=query.sort,
        only=caller.only,
    )
    found = await read_home(visit.context, wanted, incident_limit=_INCIDENTS)
    may_write = caller.may(Scope.DESTINATIONS_WRITE)
    return {
        "query": query,
        "found": found,
        "filters": FILTERS,
        "chosen": chosen,
        "strip": strip(found.listing.conditions, parameters, query.health),
        "incidents": [
            (present(each.stored, now, caller.scopes, suspended=each.suspended, holds=each.holds), each)
            for each in found.incidents
        ],
        "may_write": may_write,
        "sorted_by": {sort.value: address(parameters, sort=sort) for sort in Sort},
        "rows": destination_rows(found.listing.items, found.history, chosen),
        "waits_long": _WAITS_LONG_S,
        "pages": page_links(query.page, PAGE_SIZE, found.listing.matching, parameters),
        "is_stale": found.monitored_at is None or now - found.monitored_at > _STALE_AFTER,
        "searched": bool(text),
        "has_destinations": any(found.listing.conditions.values()),
        "catalogue": catalog.search(text),
        "may_create": may_write and caller.destination_ids is None,
        "live": f"/console/live?{urlencode({**parameters, 'page': query.page})}",
    }


# For each condition: its label for one destination, its label for several, and its tone. The page uses this
# order.
_CONDITIONS: Final[Mapping[Condition, tuple[str, str, str]]] = {
    Condition.NEEDS_ATTENTION: ("needs attention", "need attention", "bad"),
    Condition.STALLED: ("stalled", "stalled", "bad"),
    Condition.RECOVERING: ("recovering", "recovering", "warn"),
    Condition.PAUSED: ("paused", "paused", "warn"),
    Condition.HEALTHY: ("healthy", "healthy", "good"),
    Condition.IDLE: ("idle", "idle", "quiet"),
    Condition.SETUP: ("in setup", "in setup", "quiet"),
    Condition.DELETED: ("deleted", "deleted", "quiet"),
}
FILTERS: Final[Mapping[str, str]] = {
    condition.value: several.capitalize() for condition, (_, several, _) in _CONDITIONS.items()
}
# Shown even if no destination is in this condition.
_ALWAYS: Final = frozenset({Condition.NEEDS_ATTENTION, Condition.RECOVERING, Condition.HEALTHY})


@dataclass(frozen=True, slots=True)
class StripItem:
    """How many destinations are in a condition, and the link that lists them."""

    count: int
    label: str
    tone: str
    href: str
    is_current: bool


def strip(
    conditions: Mapping[Condition, int], parameters: Mapping[str, str], chosen: Condition | None
) -> list[StripItem]:
    """Return the conditions with their counts. Deleted destinations have no condition in the list."""
    return [
        StripItem(
            conditions[condition],
            one if conditions[condition] == 1 else several,
            tone if conditions[condition] else "quiet",
            address(parameters, health=None if condition is chosen else condition.value),
            condition is chosen,
        )
        for condition, (one, several, tone) in _CONDITIONS.items()
        if condition is not Condition.DELETED and (conditions[condition] or condition in _ALWAYS)
    ]


def address(parameters: Mapping[str, str], **changes: str | None) -> str:
    """Return the address of the home page with some parameters changed.

    The result starts on the first page.
    """
    kept = {name: value for name, value in {**parameters, **changes}.items() if value}
    return f"/console?{urlencode(kept)}" if kept else "/console"


@dataclass(frozen=True, slots=True)
class HomeRow:
    """One row of the table, with the figures of the chosen time range and the points of their lines."""

    item: ListedDestination
    health: Label
    cause: str
    delivered: int
    failed: int
    rejected: int
    delivered_line: str
    failed_line: str


_WAITS_LONG_S: Final = DEFAULTS[Kind.BACKLOG].minutes * 60


def destination_rows(
    items: Sequence[ListedDestination],
    history: Mapping[DestinationNumber, Sequence[OutcomeBucket]],
    chosen: TimeRange,
) -> list[HomeRow]:
    """Return the rows of a page."""
    starts, rows = chosen.bucket_starts(), []
    for item in items:
        buckets = {bucket.at: bucket for bucket in history.get(item.number, ())}
        found = [buckets.get(start) for start in starts]
        delivered = [bucket.delivered if bucket else 0 for bucket in found]
        failed = [bucket.failed if bucket else 0 for bucket in found]
        lines = line(condensed(delivered)), line(condensed(failed))
        sums = sum(delivered), sum(failed), sum(bucket.rejected for bucket in buckets.values())
        rows.append(HomeRow(item, health_label(item), stall_cause(item), *sums, *lines))
    return rows


WIDTH, HEIGHT = 112.0, 24.0  # of an inline chart
_POINTS: Final = 24


def line(values: Sequence[float]) -> str:
    """Return the points of an SVG line in an area of 112 × 24. The value zero is at the bottom."""
    maximum = max(values) or 1
    step = WIDTH / max(1, len(values) - 1)
    return " ".join(
        f"{index * step:.0f},{HEIGHT - 2 - value / maximum * (HEIGHT - 4):.0f}"
        for index, value in enumerate(values)
    )


def condensed(values: Sequence[int]) -> list[int]:
    """Add neighbouring values up, so that at most 24 sums remain. Return the sums in order."""
    size = -(-len(values) // _POINTS)
    return [sum(values[start : start + size]) for start in range(0, len(values), size)]


def stall_cause(item: ListedDestination) -> str:
    """Return what the newest request of a stalled destination says; nothing without one that failed."""
    if item.outcome is None or item.outcome == "answered":
        return ""
    if item.outcome == "under_way":
        return "Amazon has not answered the newest request yet."
    return failure_sentence(failure_of(item.outcome, item.http_status), item.http_status)


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of the table: a sentence, and links to the neighbours."""

    text: str
    previous: str | None
    next: str | None


def page_links(page: int, size: int, matching: int, parameters: Mapping[str, str]) -> Pages | None:
    """Return the links between pages, or None if there is one page only."""
    last = max(1, -(-matching // size))
    if last == 1 and page == 1:
        return None
    first_row = (page - 1) * size + 1
    text = f"{number(first_row)} to {number(min(matching, page * size))} of {number(matching)}"
    return Pages(
        text if first_row <= matching else f"{number(matching)} in all",
        address(parameters, page=str(min(page - 1, last))) if page > 1 else None,
        address(parameters, page=str(page + 1)) if page < last else None,
    )
