"""Destinations over HTTP: create, list, read, change, pause, resume, disconnect, delete.

Also the checklist before the first delivery, the status callbacks to the journey engine, whose address only
the operator can set (STATUS_CALLBACK_URL), and the Amazon sign-in: its start and its redirect (interface §3).
"""

from typing import Annotated, Literal

from fastapi import Query, Request, Response
from pydantic import Field

from app.admin import ErrorCode, Problem, Refusal, Scope, error_body
from app.admin import destinations as use_cases
from app.admin.destinations import settings
from app.admin.destinations.amazon_connection import begin_connection, finish_connection, spend_state
from app.admin.destinations.preflight import Preflight, check_setup
from app.admin.destinations.settings import DestinationUpdate, NewDestination
from app.admin.inputs import RequestBody
from app.api.access.secured_route import ONE, Context, OnDestination, SecuredRouter, public
from app.api.errors import error_response, status_of
from app.api.http.headers import Expected, tagged, wants
from app.api.http.query_parameters import Flag, ignores_unknown_parameters
from app.api.http.responses import ResponseBody
from app.api.lists import Page, Paging
from app.domain.destination import State
from app.store.callbacks import CallbackStatus
from app.store.destinations.destinations import Destination, DestinationFilter

router = SecuredRouter("destinations")
sign_in_router = SecuredRouter("sign-in")

_MAX_STATE_LENGTH = 200


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
    wanted = DestinationFilter(q, state)
    found = await settings.list_destinations(context, wanted, limit=paging.most, after=paging.number)
    return DestinationPage(**paging.listed(found, lambda row: (row.number,)))


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
    discard: Annotated[Flag, Query(description="Discard waiting events: they become dead.")] = False,
) -> use_cases.ArchivedDestination:
    """Archive the destination permanently. Its history stays readable. Refused while events wait, except with
    `discard`.

    A repeated call returns the same response, and finishes a discard that was interrupted.
    """
    return await use_cases.archive_destination(*on, discard=discard, expected=expected)


@router.get(ONE + "/preflight", Scope.DESTINATIONS_READ, summary="Check the setup")
async def preflight(
    on: OnDestination,
    ask: Annotated[Flag, Query(description="Call Amazon now to check access to the advertiser.")] = False,
) -> Preflight:
    """Check every requirement for delivery. `ready` is true when no check has failed.

    The check uses Amazon's newest reply. With `ask=true`, it calls Amazon again, which may take 45 seconds.
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


class SignInPage(ResponseBody):
    """The address of the page on which a user signs in to Amazon."""

    authorize_url: str = Field(examples=["https://www.amazon.com/ap/oa?client_id=…&state=…"])


class ConnectedView(ResponseBody):
    """The destination after a finished sign-in."""

    status: Literal["connected"]
    destination_id: str


@sign_in_router.post(ONE + "/connect", Scope.DESTINATIONS_WRITE, summary="Start the Amazon sign-in")
async def connect(on: OnDestination) -> SignInPage:
    """Return the sign-in address.

    A user of the advertiser's account must click Allow there within ten minutes.
    """
    return SignInPage(authorize_url=await begin_connection(*on))


@sign_in_router.get(
    "/oauth/amazon/callback",
    summary="Receive Amazon's redirect",
    response_model=ConnectedView,
    responses={303: {"description": "Redirect to the destination's page in the console."}},
)
@public
@ignores_unknown_parameters
async def callback(
    *,
    request: Request,
    context: Context,
    state: Annotated[list[str] | None, Query(description="The value from `authorize_url`.")] = None,
    code: Annotated[list[str] | None, Query(description="The code that Amazon issued after Allow.")] = None,
    error: Annotated[list[str] | None, Query(description="Amazon's error code, instead of a code.")] = None,
) -> Response | ConnectedView:
    """Finish the sign-in.

    Redirect (303) to the destination's console page, or return JSON to a client that accepts only JSON.
    """
    states, codes, errors = state or [], code or [], error or []
    destination: Destination | None = None
    try:
        sign_in = await spend_state(context, _require_state(states, codes, errors))
        destination = sign_in.destination
        destination = await finish_connection(
            context, sign_in, code=codes[0] if codes else None, error=errors[0] if errors else None
        )
    except Refusal as refusal:
        return _refusal_response(request, refusal.problem, destination)
    if wants(request, "application/json"):
        return ConnectedView(status="connected", destination_id=destination.id)
    page = f"{context.public_url}/console/destinations/{destination.id}"
    response: Response = request.app.state.connected_page(context, page, "connected")
    return response


def _require_state(states: list[str], codes: list[str], errors: list[str]) -> str:
    """Return the state. Raises Refusal if it is missing or too long, or if a parameter occurs twice."""
    if len(states) != 1 or len(codes) > 1 or len(errors) > 1 or len(states[0]) > _MAX_STATE_LENGTH:
        raise Refusal(ErrorCode.INVALID_STATE)
    return states[0]


# What a person in a browser should do next, by error code, where the sentence of the error does not say it.
_NEXT_STEPS = {
    ErrorCode.SIGN_IN_FAILED: "Amazon's code works once and for five minutes. "
    "Start again and click Allow within that time.",
    ErrorCode.INVALID_STATE: "This page may have been opened twice. Check the destination: it may already be "
    "connected. Otherwise, start again there.",
    ErrorCode.ADVERTISER_NOT_VISIBLE: "Sign in as a user of this advertiser's account, "
    "or correct the advertiser ID or the region under Settings.",
}


def _refusal_response(request: Request, problem: Problem, destination: Destination | None) -> Response:
    """Return an error page to a browser, and a JSON error to other clients.

    Neither repeats a part of the query.
    """
    if not wants(request, "text/html"):
        return error_response(problem)
    body = error_body(problem)
    page: Response = request.app.state.not_connected_page(
        request,
        status=status_of(problem),
        error_code=body["error"],
        detail=body["detail"],
        next_step=_NEXT_STEPS.get(problem.code),
        destination_id=None if destination is None else destination.id,
    )
    page.headers["Referrer-Policy"] = "no-referrer"  # the page's address contains Amazon's code
    return page
