"""Sign in and out: exchange an API key for a session."""

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import RedirectResponse, Response

from app.admin.access import Caller, Scope
from app.admin.access.roles import home_of, role_of
from app.admin.access.sessions import record_refusal
from app.admin.context import AppContext
from app.admin.refusals import ErrorCode, Problem, Refusal
from app.api.access.secured_route import Context, key_ring_of, public, requires
from app.console import pages
from app.console.access import sessions
from app.console.access.secured_page import Form, page_router
from app.crypto import secret_digest
from app.store.access.sessions import SessionEnd

router = page_router()

_UNKNOWN = "Invalid or revoked key. Check that you pasted all of it."
_NO_ROLE = "This key cannot open the console. It needs destinations:read and events:read."
_ENDED = "Your session has ended."
_UNSENT = " Your last change was not applied. Sign in and repeat it."


@router.get("/console/sign-in")
@public
async def page(
    request: Request,
    context: Context,
    next: Annotated[str | None, Query()] = None,
    unsent: Annotated[bool, Query()] = False,
) -> Response:
    """Show the form, or redirect if a session exists.

    `unsent` means that a form arrived after its session ended.
    """
    if await sessions.visitor_of(context, request) is not None:
        return RedirectResponse(sessions.safe_next(next), 303)
    ended = unsent or sessions.cookie_name(context) in request.cookies
    notice = (_ENDED + (_UNSENT if unsent else "")) if ended else None
    return _show(request, context, sessions.safe_next(next), ended=notice)


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
        return _show(request, context, onward, problem=_UNKNOWN, status=401)
    if role_of(caller.scopes) is None:
        await record_refusal(context, "role", caller)
        return _show(request, context, onward, problem=_NO_ROLE, status=403)
    response = RedirectResponse(home_of(caller.scopes) if onward == "/console" else onward, 303)
    await sessions.begin(context, request, response, caller, key_digest=secret_digest(key))
    return response


@router.post("/console/sign-out")
@requires(*Scope)
async def sign_out(request: Request, context: Context) -> Response:
    """End the session. For a person, also end the session at the sign-in provider."""
    caller: Caller = request.state.caller
    onward = "/console/sign-in" if caller.person is None else "/console/signed-out"
    response = RedirectResponse(onward, 303)
    await sessions.end(context, request, response, actor=caller.actor, reason=SessionEnd.SIGNED_OUT)
    return response


def _show(
    request: Request,
    context: AppContext,
    onward: str,
    *,
    problem: str | None = None,
    ended: str | None = None,
    status: int = 200,
) -> Response:
    return pages.show(
        request,
        "sign_in.html",
        status=status,
        onward=onward,
        problem=problem,
        ended=ended,
        development=context.development,
        people=context.people is not None,
        keys=context.key_sign_in,
    )
