"""Create, list and revoke API keys over HTTP."""

from fastapi import APIRouter

from app.admin.access import Scope
from app.admin.access.keys import IssuedKey, create_key, list_keys, revoke_key
from app.admin.inputs import NewKey
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.paging import Page, Paging
from app.store.access.keys import ApiKey

router = APIRouter(route_class=SecuredRoute, tags=["keys"])


class KeyPage(Page[ApiKey]):
    """A page of keys."""


@router.post("/keys", status_code=201, summary="Create a key")
@requires(Scope.KEYS_ADMIN)
async def create(body: NewKey, caller: CurrentCaller, context: Context) -> IssuedKey:
    """Create a key. Only this response has the secret. A `keys:admin` key can grant any scope.

    A key that is limited to some destinations can only create keys for some of these destinations.
    """
    return await create_key(context, caller, body)


@router.get("/keys", summary="List keys")
@requires(Scope.KEYS_ADMIN)
async def list_all(caller: CurrentCaller, context: Context, paging: Paging) -> KeyPage:
    """List keys, oldest first, including revoked keys. Secrets are never listed."""
    rows = await list_keys(context, caller, limit=paging.most, after=paging.time_and_id)
    return paging.page(KeyPage, rows, lambda key: (key.created_at.isoformat(), key.id))


@router.delete("/keys/{key_id}", summary="Revoke a key")
@requires(Scope.KEYS_ADMIN)
async def revoke(key_id: str, caller: CurrentCaller, context: Context) -> ApiKey:
    """Revoke a key permanently.

    This process refuses the key immediately, and all other processes within five seconds.
    """
    return await revoke_key(context, caller, key_id)
