"""Destinations over HTTP: create, list, read, change, pause, resume, disconnect, delete.

Also the checklist before the first delivery, and the status callbacks to the journey engine, whose address
only the operator can set (STATUS_CALLBACK_URL).
"""

from typing import Annotated

from fastapi import Query, Response

from app.admin import Scope
from app.admin import destinations as use_cases
from app.admin.destinations import settings
from app.admin.destinations.preflight import Preflight, check_setup
from app.admin.destinations.settings import DestinationUpdate, NewDestination
from app.admin.inputs import RequestBody
from app.api.access.secured_route import ONE, Context, OnDestination, SecuredRouter
from app.api.http.headers import Expected, tagged
from app.api.lists import Page, Paging
from app.domain.destination import State
from app.store.callbacks import CallbackStatus
from app.store.destinations.destinations import Destination

router = SecuredRouter("destinations")


class DestinationPage(Page[settings.MonitoredDestination]):
    """A page of destinations."""


@router.post("/destinations", Scope.DESTINATIONS_WRITE, status_code=201, summary="Create a destination")
async def create(context: Context, body: NewDestination, response: Response) -> settings.SavedDestination:
    """Create a destination in state `draft`. Connect it to Amazon next."""
    created = await settings.create_destination(context, body)
    response.headers["Location"] = f"/destinations/{created.id}"
    return tagged(response, created)


@router.get("/destinations", Scope.DESTINATIONS_READ, summary="List destinations")
async def list_all(
    context: Context,
    paging: Paging,
    q: Annotated[
        str | None, Query(max_length=200, description="Part of a name or an advertiser id, or an id.")
    ] = None,
    state: Annotated[
        State | None, Query(description="Archived destinations are listed only with `archived`.")
    ] = None,
) -> DestinationPage:
    """List the destinations that this key can access, oldest first."""
    found = await settings.list_destinations(
        context, limit=paging.most, after=paging.number, search=q, state=state
    )
    return paging.page(DestinationPage, found, lambda row: (row.number,))


@router.get(ONE, Scope.DESTINATIONS_READ, summary="Read a destination")
async def read(on: OnDestination, response: Response) -> settings.MonitoredDestination:
    """Read a destination. To change it, send the `ETag` of this response as `If-Match`."""
    return tagged(response, await settings.read_destination(*on))


@router.patch(ONE, Scope.DESTINATIONS_WRITE, summary="Change a destination")
async def change(
    on: OnDestination, body: DestinationUpdate, expected: Expected, response: Response
) -> settings.SavedDestination:
    """Change the given fields. Waiting events are not converted again.

    The advertiser id and the region cannot change once the destination was connected or accepted an event. So
    events never reach another account.
    """
    return tagged(response, await settings.change_destination(*on, body, expected))


@router.post(ONE + "/pause", Scope.DESTINATIONS_WRITE, summary="Pause a destination")
async def pause(on: OnDestination, response: Response) -> Destination:
    """Pause delivery. New events are still accepted, and wait. Nothing is sent after the response."""
    return tagged(response, await use_cases.pause_destination(*on))


@router.post(ONE + "/resume", Scope.DESTINATIONS_WRITE, summary="Resume a destination")
async def resume(on: OnDestination, response: Response) -> Destination:
    """Resume delivery. The destination returns to its state before the pause.

    While the organisation is suspended, the destination stays `paused` with the reason
    `organisation_suspended`.
    """
    return tagged(response, await use_cases.resume_destination(*on))


@router.post(ONE + "/disconnect", Scope.DESTINATIONS_WRITE, summary="Disconnect from Amazon")
async def disconnect(on: OnDestination, response: Response) -> Destination:
    """Delete the tokens. The new state is `needs_reconnect` if events wait, and `draft` if none waits."""
    return tagged(response, await use_cases.disconnect_destination(*on))


@router.delete(ONE, Scope.DESTINATIONS_WRITE, summary="Delete a destination")
async def delete(
    on: OnDestination,
    expected: Expected,
    discard: Annotated[bool, Query(description="Discard waiting events: they become dead.")] = False,
) -> use_cases.ArchivedDestination:
    """Archive the destination permanently. Its history stays readable. Refused while events wait, except with
    `discard`.

    A repeated call returns the same response, and finishes a discard that was interrupted.
    """
    return await use_cases.archive_destination(*on, discard=discard, expected=expected)


@router.get(ONE + "/preflight", Scope.DESTINATIONS_READ, summary="Check the setup")
async def preflight(
    on: OnDestination,
    ask: Annotated[bool, Query(description="Call Amazon now to check access to the advertiser.")] = False,
) -> Preflight:
    """Check every requirement for delivery. `ready` is true when no check has failed.

    The check uses Amazon's newest reply. With `ask=true`, it calls Amazon again, which may take ten seconds.
    """
    return await check_setup(*on, ask=ask)


class StatusCallbackChange(RequestBody):
    """Switches the status callbacks of a destination on or off."""

    enabled: bool


@router.get(ONE + "/status-callback", Scope.DESTINATIONS_READ, summary="Read the status callbacks")
async def status_callback(on: OnDestination) -> CallbackStatus:
    """Return whether the destination sends callbacks, and how many are not acknowledged yet."""
    return await use_cases.read_status_callback(*on)


@router.post(ONE + "/status-callback", Scope.DESTINATIONS_WRITE, summary="Switch status callbacks on or off")
async def set_status_callback(on: OnDestination, body: StatusCallbackChange) -> CallbackStatus:
    """Switch the callbacks for final states on or off. Switching off drops the callbacks that wait."""
    return await use_cases.switch_status_callback(*on, enabled=body.enabled)
