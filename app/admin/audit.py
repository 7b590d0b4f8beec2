"""Use case of the audit: list administrative actions."""

from app.admin.access import Caller
from app.admin.context import AppContext
from app.store import audit
from app.store.audit import AuditEntry


async def list_audit(
    context: AppContext,
    caller: Caller,
    *,
    limit: int,
    below: int | None = None,
    destination_id: str | None = None,
    action: str | None = None,
) -> list[AuditEntry]:
    """Return up to `limit` actions that the caller may see, newest first, from below an entry's id."""
    async with context.engine.connect() as connection:
        return await audit.newest(
            connection, limit=limit, below=below, destination=destination_id, action=action, only=caller.only
        )
