"""Create, list, rotate and revoke API keys over HTTP."""

from typing import Any

from fastapi import APIRouter, Request

from app.admin.access import Scope
from app.admin.inputs import KeyRotation, NewKey
from app.admin.keys import create_key, revoke_key, rotate_key
from app.api.paging import PAGE, Cursor, Limit, cursor_of, page_body, split_page, time_and_id_of
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, key_ring_of, requires
from app.store import keys
from app.store.keys import ApiKey

router = APIRouter(route_class=SecuredRoute, tags=["keys"])


def key_view(key: ApiKey) -> dict[str, Any]:
    """Return the public members of a key: neither its secret nor its digest."""
    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "scopes": list(key.scopes),
        "destination_ids": None if key.destination_ids is None else list(key.destination_ids),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "replaces": key.replaces,
    }


@router.post("/keys", status_code=201, summary="Create a key")
@requires(Scope.KEYS_ADMIN)
async def create(body: NewKey, caller: CurrentCaller, context: Context) -> dict[str, Any]:
    """Create a key. Its secret is in this response only. A `keys:admin` key can grant any scope.

    A key that is limited to some destinations can only create keys limited to some of these.
    """
    key, secret = await create_key(context, caller, body)
    return {**key_view(key), "key": secret}


@router.get("/keys", summary="List keys")
@requires(Scope.KEYS_ADMIN)
async def list_all(
    caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> dict[str, Any]:
    """List keys, oldest first, revoked ones included. Secrets are never listed."""
    after = time_and_id_of(cursor)
    async with context.engine.connect() as connection:
        rows = await keys.page(
            connection,
            limit=limit + 1,
            after=after,
            only=caller.only,
            without_scope=None if caller.is_platform else Scope.ORGANISATIONS_ADMIN,
        )
    items, has_more = split_page(rows, limit)
    next_cursor = cursor_of(items[-1].created_at.isoformat(), items[-1].id) if has_more else None
    return page_body([key_view(item) for item in items], next_cursor)


@router.delete("/keys/{key_id}", summary="Revoke a key")
@requires(Scope.KEYS_ADMIN)
async def revoke(key_id: str, caller: CurrentCaller, context: Context, request: Request) -> dict[str, Any]:
    """Revoke a key permanently. This process refuses it at once, all others within five seconds."""
    key = await revoke_key(context, caller, key_id)
    key_ring_of(request).forget(key.id)
    return key_view(key)


@router.post("/keys/{key_id}/rotate", status_code=201, summary="Rotate a key")
@requires(Scope.KEYS_ADMIN)
async def rotate(
    *, key_id: str, caller: CurrentCaller, context: Context, request: Request, body: KeyRotation | None = None
) -> dict[str, Any]:
    """Create a key with the same permissions. Its secret is in this response only.

    The old key works until the overlap ends: one day, or `overlap_seconds`; 0 ends it at once. Errors: 409
    `key_ended` for a revoked or expired key, `key_rotated` for a key whose successor is still valid.
    """
    key, secret, old = await rotate_key(context, caller, key_id, body or KeyRotation())
    key_ring_of(request).forget(old.id)
    return {**key_view(key), "key": secret, "replaced": {"id": old.id, "expires_at": old.expires_at}}
