"""Sign-in of people through OpenID Connect: start, callback, and the page after signing out.

Between start and callback, a sealed cookie holds state, nonce, code verifier, and the page to open after the
sign-in. The cookie is valid for ten minutes. The provider's tokens are checked and not stored.
"""

import base64
import binascii
from datetime import timedelta
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from app.admin.context import AppContext
from app.admin.person_claims import display_name, subject_of
from app.admin.refusals import ErrorCode, Refusal
from app.admin.roles import ROLES, PersonRole, home_of
from app.api.query_parameters import ignores_unknown_parameters
from app.api.secured_route import Context, public
from app.console import pages, sessions
from app.console.secured_page import SIGN_IN, SecuredPage
from app.crypto import CannotDecrypt, same_secret
from app.oidc_client import Identity, OidcFailure, new_secret
from app.store import organisations
from app.store.organisation_scope import EVERY
from app.store.sessions import Person

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

CALLBACK: Final = "/console/oidc/callback"
_PLACE: Final = "console/oidc"
_LIFETIME: Final = timedelta(minutes=10)


class _Pending(msgspec.Struct):
    """A sign-in that was started."""

    state: str
    nonce: str
    verifier: str
    onward: str
    fresh: bool
    until: float


_PROVIDER_DOWN = "Existing sessions stay valid. Try again in a minute."
_STATES = {
    "denied": (403, "You did not sign in", "The sign-in service cancelled the sign-in. Start again."),
    "unknown": (
        400,
        "This sign-in has ended",
        "It is older than ten minutes, from another browser, or already used. Start again.",
    ),
    "role": (
        403,
        "You have no role here",
        "Your account is not in a group that may use this console. Ask an admin to add you to one.",
    ),
    "organisation": (
        403,
        "You have no organisation here",
        "Your account does not belong to an organisation of this service. Ask its operator for access.",
    ),
    "refused": (
        403,
        "The sign-in was not accepted",
        "The response of the sign-in service is invalid. Start again.",
    ),
    "provider": (503, "The sign-in service does not respond", _PROVIDER_DOWN),
}


@router.get("/console/oidc/start", response_model=None)
@public
async def start(
    context: Context,
    request: Request,
    next: Annotated[str | None, Query()] = None,
    fresh: Annotated[bool, Query()] = False,
) -> Response:
    """Redirect to the provider.

    With `fresh`, the person must sign in again, even with a session at the provider.
    """
    if context.people is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    until = context.now().timestamp() + _LIFETIME.total_seconds()
    pending = _Pending(
        new_secret(), new_secret(), new_secret() + new_secret(), sessions.safe_next(next), fresh, until
    )
    url = await context.people.authorization_url(
        state=pending.state, nonce=pending.nonce, code_verifier=pending.verifier, fresh=fresh
    )
    if isinstance(url, OidcFailure):
        return _refused(request, "provider")
    response = RedirectResponse(url, 303)
    sealed = context.vault.seal(msgspec.json.encode(pending), place=_PLACE)
    response.set_cookie(
        _cookie_name(context),
        base64.urlsafe_b64encode(sealed).decode(),
        path="/",
        secure=sessions.is_secure(context),
        httponly=True,
        # SameSite must be Lax, because the browser returns from another site.
        samesite="lax",
        max_age=int(_LIFETIME.total_seconds()),
    )
    return response


@router.get(CALLBACK, response_model=None)
@public
@ignores_unknown_parameters
async def callback(
    context: Context,
    request: Request,
    state: Annotated[str, Query(max_length=500)] = "",
    code: Annotated[str, Query(max_length=4_000)] = "",
    error: Annotated[str, Query(max_length=500)] = "",
) -> Response:
    """Begin the session of the person that the provider identified."""
    pending = _pending_of(context, request)
    if context.people is None or pending is None or not same_secret(pending.state, state):
        return _refused(request, "unknown")
    if error or not code:
        return _ended(context, _refused(request, "denied"))
    identity = await context.people.exchange(
        code, code_verifier=pending.verifier, nonce=pending.nonce, max_age=0 if pending.fresh else None
    )
    if isinstance(identity, OidcFailure):
        return _ended(context, _refused(request, "provider" if identity.is_provider else "refused"))
    person = await _person_of(context, identity)
    if isinstance(person, str):
        return _ended(context, _refused(request, person))
    # If no page was requested, open the first page of the role.
    onward = home_of(ROLES[PersonRole(person.role)]) if pending.onward == "/console" else pending.onward
    response = RedirectResponse(onward, 303)
    # End an earlier session of this browser, perhaps of another person.
    await sessions.end(context, request, response)
    await sessions.begin_for_person(context, response, person)
    return _ended(context, response)


@router.get("/console/signed-out", response_model=None)
@public
async def signed_out(context: Context, request: Request) -> Response:
    """Show that the session has ended, and offer to end the provider's session too."""
    back = f"{context.public_url.rstrip('/')}{SIGN_IN}"
    onward = None if context.people is None else await context.people.logout_url(back=back)
    return pages.show(request, "signed_out.html", onward=onward)


async def _person_of(context: AppContext, identity: Identity) -> Person | str:
    """Return the person. If the sign-in is refused, return the key of the explanation in `_STATES`."""
    role = context.people_claims.role_of(identity.claims)
    if role is None:
        return "role"
    organisation = context.people_claims.organisation_of(identity.claims)
    if organisation is None:
        return "organisation"
    async with context.within(EVERY).engine.connect() as connection:
        found = await organisations.find(connection, organisation)
    if found is None:
        return "organisation"
    subject = subject_of(identity.subject)
    return Person(found.id, subject, display_name(identity.name, subject), role)


def _pending_of(context: AppContext, request: Request) -> _Pending | None:
    try:
        sealed = base64.urlsafe_b64decode(request.cookies.get(_cookie_name(context), ""))
        pending = msgspec.json.decode(context.vault.open(sealed, place=_PLACE), type=_Pending)
    except (binascii.Error, ValueError, CannotDecrypt, msgspec.DecodeError):
        return None
    return pending if pending.until > context.now().timestamp() else None


def _ended(context: AppContext, response: Response) -> Response:
    """Delete the cookie from the browser: each sign-in can finish only once."""
    response.delete_cookie(
        _cookie_name(context),
        path="/",
        secure=sessions.is_secure(context),
        httponly=True,
        samesite="lax",
    )
    return response


def _cookie_name(context: AppContext) -> str:
    return "__Host-oidc" if sessions.is_secure(context) else "oidc"


def _refused(request: Request, why: str) -> Response:
    status, title, detail = _STATES[why]
    response = pages.show(request, "not_signed_in.html", status=status, title=title, detail=detail)
    # The address contains the provider's code.
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
