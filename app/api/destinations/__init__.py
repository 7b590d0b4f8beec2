"""Destinations over HTTP: create, list, read, change, pause, resume, disconnect, delete.

Also the checklist before the first delivery, and the status callbacks to the journey engine, whose address
only the operator can set (STATUS_CALLBACK_URL).
"""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.admin.access import Scope
from app.admin.destinations import (
    ArchivedDestination,
    archive_destination,
    disconnect_destination,
    pause_destination,
    read_status_callback,
    resume_destination,
    switch_status_callback,
)
from app.admin.destinations.preflight import Preflight, check_setup
from app.admin.destinations.settings import (
    MonitoredDestination,
    SavedDestination,
    change_destination,
    create_destination,
    list_destinations,
    read_destination,
)
from app.admin.incidents.alerting import DestinationUpdate
from app.admin.inputs import NewDestination, RequestBody
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.etags import Expected, tagged
from app.api.paging import Page, Paging
from app.domain.destination import State
from app.store.callbacks import CallbackStatus
from app.store.destinations.destinations import Destination

router = APIRouter(route_class=SecuredRoute, tags=["destinations"])


class DestinationPage(Page[MonitoredDestination]):
    """A page of destinations."""


@router.post("/destinations", status_code=201, summary="Create a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def create(
    body: NewDestination, caller: CurrentCaller, context: Context, response: Response
) -> SavedDestination:
    """Create a destination in state `draft`. Connect it to Amazon next."""
    created = await create_destination(context, caller, body)
    response.headers["Location"] = f"/destinations/{created.id}"
    return tagged(response, created)


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
    paging: Paging,
) -> DestinationPage:
    """List the destinations that this key can access, oldest first."""
    found = await list_destinations(
        context, caller, limit=paging.most, after=paging.number, search=q, state=state
    )
    return paging.page(DestinationPage, found, lambda row: (row.number,))


@router.get("/destinations/{destination_id}", summary="Read a destination")
@requires(Scope.DESTINATIONS_READ)
async def read(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> MonitoredDestination:
    """Read a destination. To change it, send the `ETag` of this response as `If-Match`."""
    return tagged(response, await read_destination(context, caller, destination_id))


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
    return tagged(response, await change_destination(context, caller, destination_id, body, expected))


@router.post("/destinations/{destination_id}/pause", summary="Pause a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def pause(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> Destination:
    """Pause delivery. New events are still accepted, and wait. Nothing is sent after the response."""
    return tagged(response, await pause_destination(context, caller, destination_id))


@router.post("/destinations/{destination_id}/resume", summary="Resume a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def resume(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> Destination:
    """Resume delivery. The destination returns to its state before the pause.

    While the organisation is suspended, the destination stays `paused` with the reason
    `organisation_suspended`.
    """
    return tagged(response, await resume_destination(context, caller, destination_id))


@router.post("/destinations/{destination_id}/disconnect", summary="Disconnect from Amazon")
@requires(Scope.DESTINATIONS_WRITE)
async def disconnect(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> Destination:
    """Delete the tokens. The new state is `needs_reconnect` if events wait, and `draft` if none waits."""
    return tagged(response, await disconnect_destination(context, caller, destination_id))


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


@router.get("/destinations/{destination_id}/preflight", summary="Check the setup")
@requires(Scope.DESTINATIONS_READ)
async def preflight(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    ask: Annotated[bool, Query(description="Call Amazon now to check access to the advertiser.")] = False,
) -> Preflight:
    """Check every requirement for delivery. `ready` is true when no check has failed.

    The check uses Amazon's reply from the last sign-in. With `ask=true`, it calls Amazon again, which may
    take ten seconds.
    """
    return await check_setup(context, caller, destination_id, ask=ask)


class StatusCallbackChange(RequestBody):
    """Switches the status callbacks of a destination on or off."""

    enabled: bool


@router.get("/destinations/{destination_id}/status-callback", summary="Read the status callbacks")
@requires(Scope.DESTINATIONS_READ)
async def status_callback(destination_id: str, caller: CurrentCaller, context: Context) -> CallbackStatus:
    """Return whether the destination sends callbacks, and how many are not acknowledged yet."""
    return await read_status_callback(context, caller, destination_id)


@router.post("/destinations/{destination_id}/status-callback", summary="Switch status callbacks on or off")
@requires(Scope.DESTINATIONS_WRITE)
async def set_status_callback(
    destination_id: str, body: StatusCallbackChange, caller: CurrentCaller, context: Context
) -> CallbackStatus:
    """Switch the callbacks for final states on or off. Switching off drops the callbacks that wait."""
    return await switch_status_callback(context, caller, destination_id, enabled=body.enabled)
