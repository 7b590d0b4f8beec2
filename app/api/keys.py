"""Keys over HTTP: made and shown once, listed without themselves, revoked."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.access import Caller, Scope
from app.admin.ids import require_key_id
from app.admin.inputs import KeyRotation, NewKey
from app.admin.keys import NotRotated, create_key, revoke_key, rotate_key
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.api.paging import PAGE, Cursor, Limit, bad_cursor, cursor_of, page_body, place_of, split_page
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, key_ring_of, requires
from app.store import destinations, keys
from app.store.keys import ApiKey

router = APIRouter(route_class=SecuredRoute, tags=["keys"])


def shown(key: ApiKey) -> dict[str, Any]:
    """Return what a reader may know of a key: never the key, never its digest."""
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


@router.post("/keys", status_code=201, summary="Make a key")
@requires(Scope.KEYS_ADMIN)
async def create(body: NewKey, caller: CurrentCaller, context: Context) -> dict[str, Any]:
    """Make a key and show it, this once. Whoever may make keys can give them any scope.

    A caller limited to some destinations makes only keys that are limited to some of these.
    """
    if body.expires_at is not None and body.expires_at <= context.now():
        raise Refusal(ErrorCode.INVALID, None, FieldProblem("expires_at", "not_in_future"))
    limited = body.destination_ids
    if limited is None and caller.destination_ids is not None:
        raise Refusal(
            ErrorCode.INVALID,
            "Name destination_ids among your own.",
            FieldProblem("destination_ids", "missing"),
        )
    async with context.engine.begin() as connection:
        if limited is not None:
            await _require_known(connection, caller, limited)
        made, secret = await create_key(
            connection,
            name=body.name,
            scopes=body.scopes,
            destination_ids=limited,
            expires_at=body.expires_at,
            by=caller.actor,
        )
    return {**shown(made), "key": secret}


async def _require_known(connection: AsyncConnection, caller: Caller, wanted: list[str]) -> None:
    missing = await destinations.missing(connection, wanted)
    unknown = [
        FieldProblem(f"destination_ids[{place}]", "unknown")
        for place, destination in enumerate(wanted)
        if destination in missing or not caller.sees(destination)
    ]
    if unknown:
        raise Refusal(ErrorCode.INVALID, None, *unknown)


@router.get("/keys", summary="List keys")
@requires(Scope.KEYS_ADMIN)
async def list_all(
    caller: CurrentCaller, context: Context, limit: Limit = PAGE, cursor: Cursor = None
) -> dict[str, Any]:
    """List keys, oldest first, revoked ones too, without the keys themselves."""
    after = _place(cursor)
    async with context.engine.connect() as connection:
        rows = await keys.page(connection, limit=limit + 1, after=after, only=caller.only)
    items, more = split_page(rows, limit)
    last = cursor_of(items[-1].created_at.isoformat(), items[-1].id) if more else None
    return page_body([shown(item) for item in items], last)


def _place(cursor: str | None) -> tuple[datetime, str] | None:
    match place_of(cursor):
        case None:
            return None
        case [at, key]:
            try:
                read = datetime.fromisoformat(at)
            except ValueError:
                raise bad_cursor() from None
            if read.tzinfo is None or not 2000 <= read.year <= 9998 or "\0" in key:
                raise bad_cursor()
            return read, key
        case _:
            raise bad_cursor()


@router.delete("/keys/{key_id}", summary="Revoke a key")
@requires(Scope.KEYS_ADMIN)
async def revoke(key_id: str, caller: CurrentCaller, context: Context, request: Request) -> dict[str, Any]:
    """Revoke a key for good: refused here from the answer on, and everywhere within five seconds."""
    require_key_id(key_id)
    async with context.engine.begin() as connection:
        key = await keys.find(connection, key_id)
        if key is None or not _may_touch(caller, key):
            raise Refusal(ErrorCode.NOT_FOUND)
        revoked = await revoke_key(connection, key, by=caller.actor)
    key_ring_of(request).forget(key.id)
    return shown(revoked or key)


@router.post("/keys/{key_id}/rotate", status_code=201, summary="Replace a key")
@requires(Scope.KEYS_ADMIN)
async def rotate(
    *, key_id: str, caller: CurrentCaller, context: Context, request: Request, body: KeyRotation | None = None
) -> dict[str, Any]:
    """Make a key that may do the same and show it, this once; the old one works on for the overlap.

    A day, unless `overlap_seconds` says otherwise; 0 ends the old one at once. 409 `key_ended` for a key that
    is revoked or expired, `key_rotated` for one whose successor is valid.
    """
    asked = body or KeyRotation()
    require_key_id(key_id)
    if asked.expires_at is not None and asked.expires_at <= context.now():
        raise Refusal(ErrorCode.INVALID, None, FieldProblem("expires_at", "not_in_future"))
    async with context.engine.begin() as connection:
        key = await keys.find(connection, key_id)
        if key is None or not _may_touch(caller, key):
            raise Refusal(ErrorCode.NOT_FOUND)
        done = await rotate_key(
            connection,
            key.id,
            overlap_s=asked.overlap_seconds,
            expires_at=asked.expires_at,
            by=caller.actor,
        )
    if isinstance(done, NotRotated):
        raise Refusal(ErrorCode.KEY_ENDED if done is NotRotated.ENDED else ErrorCode.KEY_ROTATED)
    made, secret, old = done
    key_ring_of(request).forget(old.id)
    return {**shown(made), "key": secret, "replaced": {"id": old.id, "expires_at": old.expires_at}}


def _may_touch(caller: Caller, key: ApiKey) -> bool:
    if caller.destination_ids is None:
        return True
    return key.destination_ids is not None and caller.destination_ids.issuperset(key.destination_ids)
