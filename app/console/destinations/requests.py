"""The page of a destination's requests to Amazon: what each carried, how Amazon answered, and how fast."""

from functools import partial

from starlette.responses import Response

from app.admin import Scope
from app.admin.destinations.requests import read_request, read_requests, retry_now
from app.admin.events.history import ATTEMPT
from app.api.http.query_parameters import Flag
from app.api.lists import bad_cursor, cursor_of
from app.console.time_range import RangeName, RangeParameter, time_range
from app.console.visits import PAGE, CurrentDestination, PageRouter, Paging
from app.console.wording import outcome_label, read_integer
from app.store.attempts import RESPONSE_DAYS
from app.store.destinations.figures import RequestQuery

router = PageRouter()


@router.get(PAGE + "/requests", Scope.EVENTS_READ)
async def page(
    visit: CurrentDestination,
    paging: Paging,
    failed: Flag = False,
    range_name: RangeParameter = RangeName.DAY,
) -> Response:
    """List the requests of a time range, newest first, or only those that did not deliver every event."""
    chosen = time_range(range_name, visit.context.now())
    before = None
    if place := paging.time_and_id:
        if (number := read_integer(place[1], 18)) is None:
            raise bad_cursor()
        before = (place[0], number)
    listed = await read_requests(*visit.on, RequestQuery(chosen.since, before, failed, paging.limit))
    following = listed.following
    return await visit.show(
        "requests.html",
        listed=listed,
        id_of=partial(visit.context.opaque.seal, kind=ATTEMPT),
        next_cursor=following and cursor_of(visit.context, following[0].isoformat(), following[1]),
        failed=failed,
        range=chosen,
        parameters=[("range", chosen.name), *([("failed", "true")] if failed else [])],
        outcome_label=outcome_label,
    )


@router.get(PAGE + "/requests/{attempt_id}", Scope.EVENTS_READ)
async def request_page(visit: CurrentDestination, attempt_id: str) -> Response:
    """Show one request: Amazon's response, and what the request carried."""
    details = await read_request(*visit.on, attempt_id)
    return await visit.show(
        "request.html",
        details=details,
        outcome=outcome_label(details.row.outcome),
        response_days=RESPONSE_DAYS,
    )


@router.post(PAGE + "/retry", Scope.REPLAY)
async def retry(visit: CurrentDestination) -> Response:
    """Send the waiting events now, before their next attempt is due."""
    await retry_now(*visit.on)
    return visit.done("retried", PAGE)
