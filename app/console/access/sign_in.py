"""Sign in and out: with an API key, or as a person through OpenID Connect.

Between start and callback of a person's sign-in, a sealed cookie holds state, nonce, code verifier, and the
page to open after the sign-in. The cookie is valid for ten minutes. The provider's tokens are checked and not
stored.
"""

from datetime import timedelta
from secrets import token_urlsafe
from typing import Annotated, Final

import msgspec
from fastapi import Query, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from app.admin import Caller, ErrorCode, Problem, Refusal, Scope, require_found
from app.admin.access.people import display_name, home_of, person_caller, role_of, subject_of
from app.admin.access.sessions import UNKNOWN, end_signed_out, record_refusal
from app.admin.context import AppContext
from app.api.access.secured_route import Context, key_ring_of, public
from app.api.http.query_parameters import Flag, ignores_unknown_parameters
from app.console import pages
from app.console.access import sessions
from app.console.visits import BACK_CHANNEL, SIGN_IN, Form, PageRouter
from app.crypto import same_secret, secret_digest
from app.domain.ids import DEFAULT_ORGANISATION, OrganisationId
from app.domain.sign_in import Identity, Logout, OidcFailure
from app.store.access.sessions import Person, SessionEnd, SessionSelection
from app.store.organisations import organisations
from app.store.organisations.scope import EVERY

router = PageRouter()


@router.get("/console/sign-in")
@public
async def page(request: Request, context: Context, next: str | None = None, unsent: Flag = False) -> Response:
    """Show the form, or redirect if a session exists.

    `unsent` means that a form arrived after its session ended.
    """
    if await sessions.visitor_of(context, request) is not None:
        return RedirectResponse(sessions.safe_next(next), 303)
    ended = "unsent" if unsent else "ended" if sessions.cookie_name(context) in request.cookies else ""
    return _show(request, sessions.safe_next(next), why=ended)


@router.post("/console/sign-in")
@public
async def sign_in(request: Request, context: Context, form: Form) -> Response:
    """Exchange a key for a session and redirect to the requested page."""
    if not context.key_sign_in:
        raise Refusal(ErrorCode.FORBIDDEN, "Keys do not open this console. Sign in as a person.")
    key, onward = form.text("key"), sessions.safe_next(form.text("next"))
    bearer = [(b"authorization", b"Bearer " + key.encode("latin-1", "replace"))]
    caller = await key_ring_of(request).authenticate(bearer)
    if isinstance(caller, Problem):
        await record_refusal(context, "unknown_key")
        return _show(request, onward, why="unknown", status=401)
    if role_of(caller.scopes) is None:
        await record_refusal(context, "role", caller)
        return _show(request, onward, why="role", status=403)
    response = RedirectResponse(home_of(caller.scopes) if onward == "/console" else onward, 303)
    await sessions.begin(context, request, response, caller, key_digest=secret_digest(key))
    return response


@router.post("/console/sign-out", *Scope)
async def sign_out(request: Request, context: Context) -> Response:
    """End the session. For a person, also end the session at the sign-in provider."""
    onward = "/console/sign-in" if context.caller.person is None else "/console/signed-out"
    response = RedirectResponse(onward, 303)
    await sessions.end(context, request, response, actor=context.caller.actor, reason=SessionEnd.SIGNED_OUT)
    return response


def _show(request: Request, onward: str, *, why: str, status: int = 200) -> Response:
    return pages.show(request, "sign_in.html", status=status, onward=onward, why=why)


CALLBACK: Final = "/console/oidc/callback"
_PLACE: Final = "console/oidc"
_COOKIE: Final = "oidc"
_LIFETIME: Final = timedelta(minutes=10)


class _Pending(msgspec.Struct):
    """A sign-in that was started."""

    state: str
    nonce: str
    verifier: str
    onward: str
    fresh: bool
    until: float


# Why a sign-in failed, with the status code of the page. The template has the sentences.
_FAILURES = {"denied": 403, "unknown": 400, "role": 403, "organisation": 403, "refused": 403, "provider": 503}


@router.get("/console/oidc/start")
@public
async def start(context: Context, request: Request, next: str | None = None, fresh: Flag = False) -> Response:
    """Redirect to the provider.

    With `fresh`, the person must sign in again, even with a session at the provider.
    """
    people = require_found(context.people)
    until = context.now().timestamp() + _LIFETIME.total_seconds()
    onward = sessions.safe_next(next)
    pending = _Pending(token_urlsafe(), token_urlsafe(), token_urlsafe(64), onward, fresh, until)
    url = await people.authorization_url(
        state=pending.state, nonce=pending.nonce, code_verifier=pending.verifier, fresh=fresh
    )
    if isinstance(url, OidcFailure):
        return _refused(request, "provider")
    response = RedirectResponse(url, 303)
    value = sessions.sealed(context, _PLACE, pending)
    sessions.set_cookie(context, response, sessions.cookie_name(context, _COOKIE), value, max_age=_LIFETIME)
    return response


@router.get(CALLBACK)
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
        await record_refusal(context, "state_unknown")
        return _refused(request, "unknown")
    if error or not code:
        return await _end(context, request, "denied", "denied_by_provider")
    identity = await context.people.exchange(
        code, code_verifier=pending.verifier, nonce=pending.nonce, fresh=pending.fresh
    )
    if isinstance(identity, OidcFailure):
        return await _end(context, request, "provider" if identity.is_provider else "refused", identity.why)
    subject = subject_of(identity.subject)
    name, roles = display_name(identity.name, subject), context.people_claims.roles_of(identity.claims)
    organisation = await _organisation_of(context, identity)
    caller = person_caller(subject, name, roles, organisation or DEFAULT_ORGANISATION)
    if not roles or organisation is None:
        # The provider withdrew the access, so no session of the person stays open in any browser.
        selection, actor = SessionSelection(subject=subject), caller.actor
        await sessions.end_all(context, selection, actor=actor, reason=SessionEnd.REFUSED)
        state = "organisation" if roles else "role"
        return await _end(context, request, state, f"no_{state}", caller)
    # If no page was requested, open the first page of the role.
    onward = home_of(caller.scopes) if pending.onward == "/console" else pending.onward
    response = RedirectResponse(onward, 303)
    person = Person(organisation, subject, name, roles, identity.authenticated_at, identity.session)
    await sessions.begin(context, request, response, caller, person=person)
    return _without_cookie(context, response)


@router.post(BACK_CHANNEL)
@public
async def back_channel_logout(context: Context, request: Request, form: Form) -> Response:
    """End the sessions that the provider signed out (OpenID Connect Back-Channel Logout §2.5)."""
    logout = await require_found(context.people).logout_of(form.text("logout_token"))
    if isinstance(logout, Logout) and not await end_signed_out(context, logout):
        logout = OidcFailure("replayed_jti")
    if isinstance(logout, Logout):
        return Response(status_code=204)
    await record_refusal(context, f"logout_{logout.why}")
    content = {
        "error": "invalid_request",
        "error_description": logout.why,
        "detail": f"No session was ended: {logout.why}.",
        "fields": [],
    }
    if logout.is_provider:
        return JSONResponse(content, 503, {"Retry-After": "1"})
    return JSONResponse(content, 400)


@router.get("/console/signed-out")
@public
async def signed_out(context: Context, request: Request) -> Response:
    """Show that the session has ended, and offer to end the provider's session too."""
    back = f"{context.public_url.rstrip('/')}{SIGN_IN}"
    onward = None if context.people is None else await context.people.logout_url(back=back)
    return pages.show(request, "signed_out.html", onward=onward)


async def _organisation_of(context: AppContext, identity: Identity) -> OrganisationId | None:
    named = context.people_claims.organisation_of(identity.claims)
    if named is None:
        return None
    async with context.within(EVERY).engine.connect() as connection:
        found = await organisations.find(connection, named)
    return None if found is None else found.id


def _pending_of(context: AppContext, request: Request) -> _Pending | None:
    value = request.cookies.get(sessions.cookie_name(context, _COOKIE), "")
    pending = sessions.unsealed(context, _PLACE, value, _Pending)
    return pending if pending and pending.until > context.now().timestamp() else None


async def _end(
    context: AppContext, request: Request, state: str, reason: str, caller: Caller | None = None
) -> Response:
    """Refuse a sign-in that this browser started, and end its earlier session unless the provider is down."""
    response = _without_cookie(context, _refused(request, state))
    await record_refusal(context, reason, caller)
    if state != "provider":
        actor = UNKNOWN if caller is None else caller.actor
        await sessions.end(context, request, response, actor=actor, reason=SessionEnd.REFUSED)
    return response


def _without_cookie(context: AppContext, response: Response) -> Response:
    """Delete the cookie from the browser: each sign-in can finish only once."""
    sessions.delete_cookie(context, response, sessions.cookie_name(context, _COOKIE))
    return response


def _refused(request: Request, why: str) -> Response:
    response = pages.show(request, "not_signed_in.html", status=_FAILURES[why], why=why)
    # The address contains the provider's code.
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
