"""Create, list and revoke API keys over HTTP."""

from app.admin import Scope
from app.admin.access.keys import IssuedKey, NewKey, create_key, list_keys, revoke_key
from app.api.access.secured_route import Context, SecuredRouter
from app.api.lists import Page, Paging
from app.store.access.keys import ApiKey

router = SecuredRouter("keys")


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
    return KeyPage(**paging.listed(rows, lambda key: (key.created_at.isoformat(), key.id)))


@router.delete("/keys/{key_id}", Scope.KEYS_ADMIN, summary="Revoke a key")
async def revoke(context: Context, key_id: str) -> ApiKey:
    """Revoke a key permanently.

    This process refuses the key immediately, and all other processes within five seconds.
    """
    return await revoke_key(context, key_id)
