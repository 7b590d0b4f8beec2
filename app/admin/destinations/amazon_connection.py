"""Connect a destination to Amazon: begin the sign-in, and finish it when Amazon redirects back.

The `state` parameter is the credential of the callback. A state is random and is stored as a hash. It can be
used once, within ten minutes. A state belongs to the destination and to the key that began the sign-in. It is
marked as used before Amazon is called, so that only one of several concurrent callbacks exchanges the code.
No transaction is open during a call to Amazon.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import assert_never

from app.admin import BOOTSTRAP, ErrorCode, Refusal
from app.admin.access.people import PERSON
from app.admin.context import AppContext
from app.admin.destinations import audit_view, changing
from app.admin.destinations.preflight import not_visible_sentence
from app.amazon.accounts import CannotTell, NotVisible, Visible
from app.amazon.tokens import InvalidClient, SignInRefused, Tokens, Unavailable
from app.crypto import CannotDecrypt
from app.domain.destination import State
from app.domain.outcomes.outcome import Unauthorized
from app.store import audit
from app.store.access import keys
from app.store.audit import AuditAction
from app.store.destinations import destinations, sign_ins
from app.store.destinations.destinations import Destination
from app.store.encryption import access_place, refresh_place, verifier_place
from app.store.organisations.scope import EVERY


@dataclass(frozen=True, slots=True)
class SpentSignIn:
    """A sign-in whose `state` was marked as used, with the destination at that time."""

    pending: sign_ins.PendingSignIn
    state_hash: bytes
    destination: Destination


async def begin_connection(context: AppContext, destination_id: str) -> str:
    """Start a sign-in and return the URL of Amazon's sign-in page. Raises Refusal (not found, archived)."""
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(64)
    state_hash = _hash(state)
    place = verifier_place(state_hash)
    async with changing(context, destination_id) as (change, destination):
        await sign_ins.begin(
            change.connection,
            state_hash=state_hash,
            destination=destination.id,
            key=context.caller.key,
            sealed_verifier=context.vault.seal(verifier.encode(), place=place),
        )
        await change.record(AuditAction.DESTINATION_CONNECT_BEGUN, destination.id)
    return context.sign_in.authorize_url(destination.region, state=state, code_verifier=verifier)


def _hash(state: str) -> bytes:
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).digest()


async def spend_state(context: AppContext, state: str) -> SpentSignIn:
    """Mark a state as used and commit.

    Raises Refusal if the state is unknown, used or too old, or if the key that began the sign-in is revoked.
    """
    state_hash = _hash(state)
    # The callback has no API key. The state determines the organisation.
    async with context.within(EVERY).engine.begin() as connection:
        pending = await sign_ins.spend(connection, state_hash)
    if pending is None:
        raise Refusal(ErrorCode.INVALID_STATE)
    async with context.within(pending.organisation).engine.begin() as connection:
        key_is_alive = (
            pending.key == BOOTSTRAP
            or pending.key.startswith(PERSON)
            or await keys.is_alive(connection, pending.key)
        )
        destination = await destinations.find(connection, pending.destination)
    assert destination is not None  # guaranteed by a foreign key
    if not key_is_alive:
        raise Refusal(ErrorCode.INVALID_STATE)
    if destination.state is State.ARCHIVED:
        raise Refusal(ErrorCode.DESTINATION_ARCHIVED)
    return SpentSignIn(pending, state_hash, destination)


async def finish_connection(
    context: AppContext, sign_in: SpentSignIn, *, code: str | None, error: str | None
) -> Destination:
    """Exchange the code, check the advertiser and store the tokens.

    Raises Refusal; the destination is then unchanged.
    """
    context = context.within(sign_in.pending.organisation)
    if error is not None:
        raise Refusal(ErrorCode.ACCESS_DENIED if error == "access_denied" else ErrorCode.SIGN_IN_FAILED)
    if not code:
        raise Refusal(ErrorCode.SIGN_IN_FAILED)
    place = verifier_place(sign_in.state_hash)
    try:
        verifier = context.vault.open(sign_in.pending.sealed_verifier, place=place).decode()
    except CannotDecrypt:
        # The encryption key was removed: only a new sign-in can succeed.
        raise Refusal(ErrorCode.INVALID_STATE) from None
    tokens = await _exchange(context, sign_in.destination, code, verifier)
    account = await _require_visible(context, sign_in.destination, tokens)
    destination = await _store_connection(context, sign_in, tokens, account)
    await context.wake(destination)
    return destination


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
    """Return the advertiser's account, which the new tokens must be able to access.

    Raises Refusal if the tokens give no access to the advertiser, or if Amazon does not answer.
    """
    match await context.find_advertiser(destination.region, tokens.access_token, destination.advertiser_id):
        case Visible() as visible:
            return visible
        case NotVisible(ids):
            # The caller of the callback is the user who signed in, so these ids are the user's own.
            detail = f"{not_visible_sentence(ids)} The destination is unchanged."
            raise Refusal(ErrorCode.ADVERTISER_NOT_VISIBLE, detail, visible_advertiser_ids=list(ids))
        case Unauthorized():
            # Amazon rejects a token that it has just issued: only a new sign-in can help.
            raise Refusal(ErrorCode.SIGN_IN_FAILED)
        case CannotTell():
            raise Refusal(ErrorCode.AMAZON_UNAVAILABLE)
        case other:
            assert_never(other)


async def _store_connection(
    context: AppContext, sign_in: SpentSignIn, tokens: Tokens, account: Visible
) -> Destination:
    checked, connected_by = sign_in.destination, sign_in.pending.key
    async with context.engine.begin() as connection:
        before = await destinations.lock(connection, checked.id)
        assert before is not None
        if before.state is State.ARCHIVED:
            raise Refusal(ErrorCode.DESTINATION_ARCHIVED)
        # Store the tokens only for the advertiser and region that Amazon confirmed.
        if (before.region, before.advertiser_id) != (checked.region, checked.advertiser_id):
            raise Refusal(ErrorCode.DESTINATION_CHANGED)
        seal = context.vault.seal
        assert tokens.refresh_token is not None  # `SignIn.exchange` returns none without it
        await sign_ins.store_connection(
            connection,
            before.id,
            sealed_refresh=seal(tokens.refresh_token.encode(), place=refresh_place(before.id)),
            sealed_access=seal(tokens.access_token.encode(), place=access_place(before.id)),
            lifetime_s=tokens.lifetime_s,
            connected_by=connected_by,
        )
        await sign_ins.save_account(connection, before.id, name=account.name, currency=account.currency)
        after = await destinations.set_sign_in(connection, before.id, "valid")
        old, new = audit_view(before), {**audit_view(after), "amazon_account": account.name}
        action = AuditAction.DESTINATION_CONNECTED
        await audit.record(connection, connected_by, action, after.id, before=old, after=new)
    return after
