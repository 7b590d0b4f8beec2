"""Response models of the audit, and the function that reads a page of it."""

from datetime import datetime
from typing import Any

from pydantic import Field

from app.admin.access import Caller
from app.admin.audit import list_audit
from app.admin.context import AppContext
from app.api.http.response_body import ResponseBody
from app.api.paging import Page, number_of, split_page
from app.store.audit import AuditEntry, AuditFilter


class AuditEntryView(ResponseBody):
    """An administrative action. `before` and `after` contain only the members that the action changed."""

    id: str
    at: datetime
    actor: str
    action: str = Field(examples=["mapping.published"])
    subject: str
    destination_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    sequence: int | None = Field(description="Position in the hash chain.")
    prev_hash: str | None
    hash: str | None

    @classmethod
    def of(cls, entry: AuditEntry) -> "AuditEntryView":
        """Return the view of an entry."""
        return cls(
            id=str(entry.id),
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            destination_id=entry.destination,
            before=None if entry.before is None else dict(entry.before),
            after=None if entry.after is None else dict(entry.after),
            sequence=entry.sequence,
            prev_hash=None if entry.prev_hash is None else entry.prev_hash.hex(),
            hash=None if entry.hash is None else entry.hash.hex(),
        )


class AuditPage(Page[AuditEntryView]):
    """A page of administrative actions."""


async def audit_page(
    context: AppContext, caller: Caller, wanted: AuditFilter, cursor: str | None, limit: int
) -> AuditPage:
    """Return a page of the actions that a caller may see, newest first. Raises Refusal (422)."""
    rows = await list_audit(context, caller, limit=limit + 1, below=number_of(cursor), wanted=wanted)
    items, next_cursor = split_page(rows, limit, lambda entry: (entry.id,))
    return AuditPage(items=[AuditEntryView.of(item) for item in items], next_cursor=next_cursor)
