"""The page of the audit, for API, console and exports."""

from app.admin.access import Caller
from app.admin.audit import list_audit
from app.admin.context import AppContext
from app.api.paging import Page, number_of, split_page
from app.store.audit import AuditEntry, AuditFilter


class AuditPage(Page[AuditEntry]):
    """A page of administrative actions."""


async def audit_page(
    context: AppContext, caller: Caller, wanted: AuditFilter, cursor: str | None, limit: int
) -> AuditPage:
    """Return a page of the actions that a caller may see, newest first. Raises Refusal (422)."""
    rows = await list_audit(context, caller, limit=limit + 1, below=number_of(cursor), wanted=wanted)
    items, next_cursor = split_page(rows, limit, lambda entry: (entry.id,))
    return AuditPage(items=list(items), next_cursor=next_cursor)
