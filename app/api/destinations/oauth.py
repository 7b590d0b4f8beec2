"""Connect a destination to Amazon over HTTP: start the sign-in and handle the redirect (interface §3)."""

from typing import Annotated, Literal

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response

from app.admin import ErrorCode, Problem, Refusal, Scope, error_body
from app.admin.destinations.amazon_connection import begin_connection, finish_connection, spend_state
from app.api.access.secured_route import ONE, Context, OnDestination, SecuredRouter, public
from app.api.errors import error_response, status_of
from app.api.http.headers import wants
from app.api.http.query_parameters import ignores_unknown_parameters
from app.api.http.responses import ResponseBody
from app.store.destinations.destinations import Destination

router = SecuredRouter("sign-in")

_MAX_STATE_LENGTH = 200


class SignInPage(ResponseBody):
    """The address of the page on which a user signs in to Amazon."""

    authorize_url: str = Field(examples=["https://www.amazon.com/ap/oa?client_id=…&state=…"])


class ConnectedView(ResponseBody):
    """The destination after a finished sign-in."""

    status: Literal["connected"]
    destination_id: str


@router.post(ONE + "/connect", Scope.DESTINATIONS_WRITE, summary="Start the Amazon sign-in")
async def connect(on: OnDestination) -> SignInPage:
    """Return the sign-in address.

    A user of the advertiser's account must click Allow there within ten minutes.
    """
    return SignInPage(authorize_url=await begin_connection(*on))


@router.get(
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
