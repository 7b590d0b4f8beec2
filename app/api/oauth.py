"""Connecting a destination to Amazon: the way to the sign-in page, and the way back (interface §3).

The state is the credential of the way back: random, kept as a hash, good once and for ten minutes, bound to
the destination and to the key that asked. It is spent before Amazon is asked, so that of callers who
come at once one alone exchanges the code. No transaction is open while Amazon is asked.
"""

import hashlib
import secrets
from typing import Annotated, Any, assert_never

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from app.admin.access import BOOTSTRAP, Scope
from app.admin.context import AppContext
from app.admin.destinations import audit_view, lock_visible
from app.admin.preflight import not_visible_sentence
from app.admin.refusals import ErrorCode, Problem, Refusal, error_body
from app.amazon.accounts import CannotTell, NotVisible, Visible
from app.amazon.tokens import InvalidClient, SignInRefused, Tokens, Unavailable
from app.api.errors import error_response, status_of
from app.api.negotiation import wants
from app.api.query_parameters import ignores_unknown_parameters
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, public, requires
from app.crypto import CannotDecrypt
from app.domain.destination import State
from app.domain.outcomes.outcome import Unauthorized
from app.store import amazon_accounts, audit, destinations, keys, oauth_states, sign_ins, token_leases
from app.store.destinations import Destination
from app.store.oauth_states import PendingSignIn

router = APIRouter(route_class=SecuredRoute, tags=["sign-in"])


@router.post("/destinations/{destination_id}/connect", summary="Begin the sign-in at Amazon")
@requires(Scope.DESTINATIONS_WRITE)
async def connect(destination_id: str, caller: CurrentCaller, context: Context) -> dict[str, Any]:
    """Return the page where a user of the advertiser's account clicks Allow; it waits ten minutes."""
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
    hashed = _hash(state)
    place = oauth_states.verifier_place(hashed)
    async with context.engine.begin() as connection:
        destination = await lock_visible(connection, caller, destination_id)
        await oauth_states.begin(
            connection,
            state_hash=hashed,
            destination=destination.id,
            key=caller.key,
            sealed_verifier=context.vault.seal(verifier.encode(), place=place),
        )
        await audit.record(
            connection,
            actor=caller.actor,
            action=audit.AuditAction.DESTINATION_CONNECT_BEGUN,
            subject=destination.id,
            destination=destination.id,
        )
    url = context.sign_in.authorize_url(destination.region, state=state, code_verifier=verifier)
    return {"authorize_url": url}


def _hash(state: str) -> bytes:
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).digest()


@router.get("/oauth/amazon/callback", summary="Come back from Amazon", response_model=None)
@public
@ignores_unknown_parameters
async def callback(
    *,
    request: Request,
    context: Context,
    state: Annotated[list[str] | None, Query(description="As `authorize_url` carried it.")] = None,
    code: Annotated[list[str] | None, Query(description="What Amazon gave for Allow.")] = None,
    error: Annotated[list[str] | None, Query(description="What Amazon says instead of a code.")] = None,
) -> Response:
    """Finish the sign-in: 303 to the destination's page in the console, or JSON when that is asked for."""
    asked: Destination | None = None
    try:
        pending, hashed, asked = await _begun(context, state or [], code or [], error or [])
        destination = await _finish(context, pending, hashed, asked, code or [], error or [])
    except Refusal as refusal:
        return _refused(request, refusal.problem, asked)
    await context.wake(destination.number)
    if wants(request, "application/json"):
        return JSONResponse({"status": "connected", "destination_id": destination.id})
    return RedirectResponse(f"{context.public_url}/console/destinations/{destination.id}", 303)


async def _begun(
    context: AppContext, states: list[str], codes: list[str], errors: list[str]
) -> tuple[PendingSignIn, bytes, Destination]:
    """Spend the state, and return for which destination it was begun."""
    if len(states) != 1 or len(codes) > 1 or len(errors) > 1 or len(states[0]) > 200:
        raise Refusal(ErrorCode.INVALID_STATE)
    hashed = _hash(states[0])
    pending, destination = await _spend(context, hashed)
    return pending, hashed, destination


async def _finish(
    context: AppContext,
    pending: PendingSignIn,
    hashed: bytes,
    destination: Destination,
    codes: list[str],
    errors: list[str],
) -> Destination:
    """Ask Amazon and keep the tokens. Raises Refusal; then the destination is as it was."""
    if errors:
        raise Refusal(ErrorCode.ACCESS_DENIED if errors[0] == "access_denied" else ErrorCode.SIGN_IN_FAILED)
    if not codes or not codes[0]:
        raise Refusal(ErrorCode.SIGN_IN_FAILED)
    try:
        verifier = context.vault.open(
            pending.sealed_verifier, place=oauth_states.verifier_place(hashed)
        ).decode()
    except CannotDecrypt:
        raise Refusal(ErrorCode.INVALID_STATE) from None  # its encryption key is gone: begin again
    tokens = await _exchange(context, destination, codes[0], verifier)
    account = await _require_visible(context, destination, tokens)
    return await _keep(context, pending, destination, tokens, account)


async def _spend(context: AppContext, hashed: bytes) -> tuple[PendingSignIn, Destination]:
    """Spend a state whose key may still act. Committed before Amazon is asked."""
    async with context.engine.begin() as connection:
        pending = await oauth_states.spend(connection, hashed)
        if pending is None:
            raise Refusal(ErrorCode.INVALID_STATE)
        alive = pending.key == BOOTSTRAP or await keys.is_alive(connection, pending.key)
        destination = await destinations.find(connection, pending.destination)
    assert destination is not None  # a foreign key holds it
    if not alive:
        raise Refusal(ErrorCode.INVALID_STATE)
    if destination.state is State.ARCHIVED:
        raise Refusal(ErrorCode.DESTINATION_ARCHIVED)
    return pending, destination


async def _exchange(context: AppContext, destination: Destination, code: str, verifier: str) -> Tokens:
    match await context.sign_in.exchange(destination.region, code=code, code_verifier=verifier):
        case Tokens() as tokens:
            return tokens
        case SignInRefused():
            raise Refusal(ErrorCode.SIGN_IN_FAILED)
        case InvalidClient():
            raise Refusal(ErrorCode.AMAZON_CLIENT_INVALID)
        case Unavailable():
            raise Refusal(ErrorCode.AMAZON_UNAVAILABLE)
        case other:
            assert_never(other)


async def _require_visible(context: AppContext, destination: Destination, tokens: Tokens) -> Visible:
    """Return the account as the new tokens see it. Connected means that the advertiser is visible to them."""
    match await context.find_advertiser(destination.region, tokens.access_token, destination.advertiser_id):
        case Visible() as visible:
            return visible
        case NotVisible(ids):
            # The caller of the callback is the user who signed in, so these ids are the user's own.
            detail = f"{not_visible_sentence(ids)} The destination stays as it was."
            raise Refusal(ErrorCode.ADVERTISER_NOT_VISIBLE, detail, visible_advertiser_ids=list(ids))
        case Unauthorized():
            # Amazon refuses a token that it has just issued: only a new sign-in can help.
            raise Refusal(ErrorCode.SIGN_IN_FAILED)
        case CannotTell():
            raise Refusal(ErrorCode.AMAZON_UNAVAILABLE)
        case other:
            assert_never(other)


async def _keep(
    context: AppContext, pending: PendingSignIn, asked: Destination, tokens: Tokens, account: Visible
) -> Destination:
    async with context.engine.begin() as connection:
        before = await destinations.lock(connection, asked.id)
        assert before is not None
        if before.state is State.ARCHIVED:
            raise Refusal(ErrorCode.DESTINATION_ARCHIVED)
        # The tokens may be kept for nothing but what Amazon was asked about.
        if (before.region, before.advertiser_id) != (asked.region, asked.advertiser_id):
            raise Refusal(ErrorCode.DESTINATION_CHANGED)
        seal = context.vault.seal
        assert tokens.refresh_token is not None  # `SignIn.exchange` returns none without it
        await sign_ins.store_connection(
            connection,
            before.id,
            sealed_refresh=seal(tokens.refresh_token.encode(), place=token_leases.refresh_place(before.id)),
            sealed_access=seal(tokens.access_token.encode(), place=token_leases.access_place(before.id)),
            lifetime_s=tokens.lifetime_s,
            connected_by=pending.key,
        )
        await amazon_accounts.save(connection, before.id, name=account.name, currency=account.currency)
        after = await destinations.set_sign_in(connection, before.id, "valid")
        await audit.record(
            connection,
            actor=pending.key,
            action=audit.AuditAction.DESTINATION_CONNECTED,
            subject=after.id,
            destination=after.id,
            before=audit_view(before),
            after={**audit_view(after), "amazon_account": account.name},
        )
    return after


# What to do next, beside what went wrong: in the console's words, since a person at a browser reads it.
_NEXT = {
    ErrorCode.ACCESS_DENIED: "Deny was clicked. Begin again and click Allow; nothing else is missing.",
    ErrorCode.SIGN_IN_FAILED: "Amazon's code works once and for five minutes. "
    "Begin again, and click Allow in that time.",
    ErrorCode.INVALID_STATE: "This page may have been opened twice: check the destination, "
    "it may be connected. "
    "Otherwise begin again there.",
    ErrorCode.ADVERTISER_NOT_VISIBLE: "Sign in as a user of this advertiser's account, "
    "or correct the advertiser id or the region under Settings.",
    ErrorCode.AMAZON_UNAVAILABLE: "Wait a minute and begin again.",
}


def _refused(request: Request, problem: Problem, asked: Destination | None) -> Response:
    """Return a page to a browser, else the one shape. Nothing from the query is in either."""
    if not wants(request, "text/html"):
        return error_response(problem)
    body = error_body(problem)
    page: Response = request.app.state.not_connected_page(
        request,
        status=status_of(problem),
        word=body["error"],
        detail=body["detail"],
        onward=_NEXT.get(problem.word),
        destination_id=None if asked is None else asked.id,
    )
    page.headers["Referrer-Policy"] = "no-referrer"  # its address holds what Amazon gave
    return page
