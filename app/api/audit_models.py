"""The page of the audit, for API, console and exports."""

from app.admin.access import Caller
from app.admin.audit import list_audit, number_of_entry
from app.admin.context import AppContext
from app.api.paging import Page, record_id_of, split_page
from app.store.audit import AuditEntry, AuditFilter


class AuditPage(Page[AuditEntry]):
    """A page of administrative actions."""


async def audit_page(
    context: AppContext, caller: Caller, wanted: AuditFilter, cursor: str | None, limit: int
) -> AuditPage:
    """Return a page of the actions that a caller may see, newest first. Raises Refusal (422)."""
    rows = await list_audit(
        context, caller, limit=limit + 1, below=record_id_of(context, cursor), wanted=wanted
    )
    items, next_cursor = split_page(context, rows, limit, lambda entry: (number_of_entry(context, entry),))
    return AuditPage(items=list(items), next_cursor=next_cursor)
