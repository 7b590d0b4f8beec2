"""Create, list, rotate and revoke API keys over HTTP."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.access.keys import create_key, list_keys, revoke_key, rotate_key
from app.admin.inputs import KeyRotation, NewKey
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.api.paging import PAGE, Cursor, Limit, Page, split_page, time_and_id_of

router = APIRouter(route_class=SecuredRoute, tags=["keys"])


class KeyView(ResponseBody):
    """A key without its secret."""

    id: str
    name: str = Field(examples=["journey engine"])
    hint: str = Field(description="The first eight characters of the secret.")
    scopes: list[Scope]
    destination_ids: list[str] | None = Field(description="Null: the key can access every destination.")
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaces: str | None = Field(description="The key that this one replaces.")


class KeyPage(Page[KeyView]):
    """A page of keys."""


class NewKeyView(KeyView):
    """A new key, with its secret."""

    key: str = Field(description="The secret. It is in this response only.")


class ReplacedKey(ResponseBody):
    """The old key after a rotation."""

    id: str
    expires_at: datetime


class RotatedKeyView(NewKeyView):
    """A new key, and the old key that it replaces with the time at which that key ends."""

    replaced: ReplacedKey


@router.post("/keys", status_code=201, summary="Create a key")
@requires(Scope.KEYS_ADMIN)
async def create(body: NewKey, caller: CurrentCaller, context: Context) -> NewKeyView:
    """Create a key. Only this response has the secret. A `keys:admin` key can grant any scope.

    A key that is limited to some destinations can only create keys for some of these destinations.
    """
    key, secret = await create_key(context, caller, body)
    return NewKeyView(**KeyView.model_validate(key).model_dump(), key=secret)


@router.get("/keys", summary="List keys")
@requires(Scope.KEYS_ADMIN)
async def list_all(
    caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> KeyPage:
    """List keys, oldest first, including revoked keys. Secrets are never listed."""
    rows = await list_keys(context, caller, limit=limit + 1, after=time_and_id_of(context, cursor))
    items, next_cursor = split_page(context, rows, limit, lambda key: (key.created_at.isoformat(), key.id))
    return KeyPage(items=[KeyView.model_validate(item) for item in items], next_cursor=next_cursor)


@router.delete("/keys/{key_id}", summary="Revoke a key")
@requires(Scope.KEYS_ADMIN)
async def revoke(key_id: str, caller: CurrentCaller, context: Context) -> KeyView:
    """Revoke a key permanently.

    This process refuses the key immediately, and all other processes within five seconds.
    """
    key = await revoke_key(context, caller, key_id)
    return KeyView.model_validate(key)


@router.post("/keys/{key_id}/rotate", status_code=201, summary="Rotate a key")
@requires(Scope.KEYS_ADMIN)
async def rotate(
    *, key_id: str, caller: CurrentCaller, context: Context, body: KeyRotation | None = None
) -> RotatedKeyView:
    """Create a key with the same permissions. Only this response has the secret.

    The old key works until the overlap ends. The overlap is `overlap_seconds`, or one day without it; 0 ends
    the old key immediately. Errors: 409 `key_ended` for a key that is revoked or expired. 409 `key_rotated`
    for a key whose successor is still valid.
    """
    key, secret, old = await rotate_key(context, caller, key_id, body or KeyRotation())
    return RotatedKeyView(
        **KeyView.model_validate(key).model_dump(), key=secret, replaced=ReplacedKey.model_validate(old)
    )
