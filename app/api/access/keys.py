"""API keys and console sessions over HTTP: create, list and end them."""

from app.admin.access import Scope
from app.admin.access.keys import IssuedKey, create_key, list_keys, revoke_key
from app.admin.access.sessions import ConsoleSession, end_session, list_sessions
from app.admin.inputs import NewKey
from app.api.access.secured_route import Context, SecuredRouter
from app.api.paging import Page, Paging
from app.store.access.keys import ApiKey

router = SecuredRouter("keys")
session_router = SecuredRouter("sessions")


class KeyPage(Page[ApiKey]):
    """A page of keys."""


@router.post("/keys", Scope.KEYS_ADMIN, status_code=201, summary="Create a key")
async def create(context: Context, body: NewKey) -> IssuedKey:
    """Create a key. Only this response has the secret. A `keys:admin` key can grant any scope.

    A key that is limited to some destinations can only create keys for some of these destinations.
    """
    return await create_key(context, body)


@router.get("/keys", Scope.KEYS_ADMIN, summary="List keys")
async def list_all(context: Context, paging: Paging) -> KeyPage:
    """List keys, oldest first, including revoked keys. Secrets are never listed."""
    rows = await list_keys(context, limit=paging.most, after=paging.time_and_id)
    return paging.page(KeyPage, rows, lambda key: (key.created_at.isoformat(), key.id))


@router.delete("/keys/{key_id}", Scope.KEYS_ADMIN, summary="Revoke a key")
async def revoke(context: Context, key_id: str) -> ApiKey:
    """Revoke a key permanently.

    This process refuses the key immediately, and all other processes within five seconds.
    """
    return await revoke_key(context, key_id)


class SessionPage(Page[ConsoleSession]):
    """A page of sessions."""


@session_router.get("/sessions", Scope.KEYS_ADMIN, name="list_all", summary="List sessions")
async def list_open(context: Context, paging: Paging) -> SessionPage:
    """List the console sessions of the organisation, oldest first. Expired sessions are not listed."""
    rows = await list_sessions(context, limit=paging.most, after=paging.time_and_id)
    return paging.page(SessionPage, rows, lambda row: (row.started_at.isoformat(), row.id))


@session_router.delete("/sessions/{session_id}", Scope.KEYS_ADMIN, summary="End a session")
async def end(context: Context, session_id: str) -> ConsoleSession:
    """End a session: its next request leads to the sign-in. The person can sign in again.

    To lock a person out, remove its role at the sign-in provider first.
    """
    return await end_session(context, session_id)
