"""List administrative actions over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.admin.access import Scope
from app.api.paging import PAGE, Cursor, Limit, cursor_of, number_of, page_body, split_page
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.store import audit

router = APIRouter(route_class=SecuredRoute, tags=["audit"])


def entry_view(entry: audit.AuditEntry) -> dict[str, Any]:
    """Return the public members of an entry. `before` and `after` contain only what changed."""
    return {
        "id": str(entry.id),
        "at": entry.at,
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "destination_id": entry.destination,
        "before": entry.before,
        "after": entry.after,
        "sequence": entry.sequence,
        "prev_hash": None if entry.prev_hash is None else entry.prev_hash.hex(),
        "hash": None if entry.hash is None else entry.hash.hex(),
    }


@router.get("/audit", summary="List administrative actions")
@requires(Scope.KEYS_ADMIN)
async def list_all(
    *,
    caller: CurrentCaller,
    context: Context,
    destination_id: Annotated[
        str | None, Query(max_length=64, description="Only entries of this destination.")
    ] = None,
    action: Annotated[
        str | None, Query(max_length=64, description="Only this action, such as `mapping.published`.")
    ] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """List administrative actions and what they changed, newest first. Entries contain no secrets."""
    async with context.engine.connect() as connection:
        rows = await audit.newest(
            connection,
            limit=limit + 1,
            below=number_of(cursor),
            destination=destination_id,
            action=action,
            only=caller.only,
        )
    items, has_more = split_page(rows, limit)
    return page_body([entry_view(item) for item in items], cursor_of(items[-1].id) if has_more else None)
