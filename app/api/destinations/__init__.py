"""Destinations over HTTP: create, list, read, change, pause, resume, disconnect, delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.admin.access import Scope
from app.admin.destinations import (
    ArchivedDestination,
    archive_destination,
    disconnect_destination,
    pause_destination,
    resume_destination,
)
from app.admin.destinations.settings import (
    MonitoredDestination,
    SavedDestination,
    change_destination,
    create_destination,
    list_destinations,
    read_destination,
)
from app.admin.incidents.alerting import DestinationUpdate
from app.admin.inputs import NewDestination
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.etags import Expected, etag
from app.api.paging import PAGE, Cursor, Limit, Page, number_of, split_page
from app.domain.destination import State
from app.store.destinations.destinations import Destination

router = APIRouter(route_class=SecuredRoute, tags=["destinations"])


class DestinationPage(Page[MonitoredDestination]):
    """A page of destinations."""


@router.post("/destinations", status_code=201, summary="Create a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def create(
    body: NewDestination, caller: CurrentCaller, context: Context, response: Response
) -> SavedDestination:
    """Create a destination in state `draft`. Connect it to Amazon next.

    If another destination has a similar name, the response has the warning `name_confusable`.
    """
    created = await create_destination(context, caller, body)
    response.headers["ETag"] = etag(created.version)
    response.headers["Location"] = f"/destinations/{created.id}"
    return created


@router.get("/destinations", summary="List destinations")
@requires(Scope.DESTINATIONS_READ)
async def list_all(
    *,
    caller: CurrentCaller,
    context: Context,
    q: Annotated[
        str | None, Query(max_length=200, description="Part of a name or an advertiser id, or an id.")
    ] = None,
    state: Annotated[
        State | None, Query(description="Archived destinations are listed only with `archived`.")
    ] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> DestinationPage:
    """List the destinations that this key can access, oldest first."""
    found = await list_destinations(
        context, caller, limit=limit + 1, after=number_of(cursor), search=q, state=state
    )
    items, next_cursor = split_page(found, limit, lambda row: (row.number,))
    return DestinationPage(items=list(items), next_cursor=next_cursor)


@router.get("/destinations/{destination_id}", summary="Read a destination")
@requires(Scope.DESTINATIONS_READ)
async def read(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> MonitoredDestination:
    """Read a destination. To change it, send the `ETag` of this response as `If-Match`."""
    found = await read_destination(context, caller, destination_id)
    response.headers["ETag"] = etag(found.version)
    return found


@router.patch("/destinations/{destination_id}", summary="Change a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def change(
    *,
    destination_id: str,
    body: DestinationUpdate,
    caller: CurrentCaller,
    context: Context,
    expected: Expected,
    response: Response,
) -> SavedDestination:
    """Change the given fields. Waiting events are not converted again.

    The advertiser id and the region cannot change once the destination was connected or accepted an event. So
    events never reach another account.
    """
    saved = await change_destination(context, caller, destination_id, body, expected)
    response.headers["ETag"] = etag(saved.version)
    return saved


@router.post("/destinations/{destination_id}/pause", summary="Pause a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def pause(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> Destination:
    """Pause delivery. New events are still accepted, and wait. Nothing is sent after the response."""
    return _changed(response, await pause_destination(context, caller, destination_id))


@router.post("/destinations/{destination_id}/resume", summary="Resume a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def resume(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> Destination:
    """Resume delivery. The destination returns to its state before the pause.

    While the organisation is suspended, the destination stays `paused` with the reason
    `organisation_suspended`.
    """
    return _changed(response, await resume_destination(context, caller, destination_id))


@router.post("/destinations/{destination_id}/disconnect", summary="Disconnect from Amazon")
@requires(Scope.DESTINATIONS_WRITE)
async def disconnect(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> Destination:
    """Delete the tokens. The new state is `needs_reconnect` if events wait, and `draft` if none waits."""
    return _changed(response, await disconnect_destination(context, caller, destination_id))


@router.delete("/destinations/{destination_id}", summary="Delete a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def delete(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    expected: Expected,
    discard: Annotated[bool, Query(description="Discard waiting events: they become dead.")] = False,
) -> ArchivedDestination:
    """Archive the destination permanently. Its history stays readable. Refused while events wait, except with
    `discard`.

    A repeated call returns the same response, and finishes a discard that was interrupted.
    """
    return await archive_destination(context, caller, destination_id, discard=discard, expected=expected)


def _changed(response: Response, destination: Destination) -> Destination:
    response.headers["ETag"] = etag(destination.version)
    return destination
