"""The audit over HTTP: who did what, newest first."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.admin.access import Scope
from app.api.paging import PAGE, Cursor, Limit, cursor_of, number_of, page, page_of
from app.api.secured_route import CallerOf, Door, Wired, needs
from app.store import audit

router = APIRouter(route_class=Door, tags=["audit"])


def shown(entry: audit.Entry) -> dict[str, Any]:
    """Return an act as readers see it; `before` and `after` hold only what changed."""
    return {
        "id": str(entry.id),
        "at": entry.at,
        "actor": entry.actor,
        "act": entry.act,
        "subject": entry.subject,
        "destination_id": entry.destination,
        "before": entry.before,
        "after": entry.after,
        "link": entry.link,
        "prev_hash": None if entry.prev_hash is None else entry.prev_hash.hex(),
        "hash": None if entry.hash is None else entry.hash.hex(),
    }


@router.get("/audit", summary="List administrative acts")
@needs(Scope.KEYS_ADMIN)
async def list_all(
    *,
    caller: CallerOf,
    wired: Wired,
    destination_id: Annotated[str | None, Query(max_length=64, description="Of one destination.")] = None,
    act: Annotated[
        str | None, Query(max_length=64, description="Of one kind, as `mapping.published`.")
    ] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List every administrative act with what it changed, newest first. No secret is in it."""
    async with wired.engine.connect() as connection:
        rows = await audit.newest(
            connection,
            limit=limit + 1,
            below=number_of(cursor),
            destination=destination_id,
            act=act,
            only=caller.only,
        )
    items, more = page_of(rows, limit)
    return page([shown(item) for item in items], cursor_of(items[-1].id) if more else None)
