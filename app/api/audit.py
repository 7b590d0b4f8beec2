"""List administrative actions over HTTP."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.admin.access import Scope
from app.admin.audit import list_audit
from app.api.export import EXPORTED, Format, page_or_export
from app.api.paging import PAGE, Cursor, Limit, Page, cursor_of, number_of, split_page
from app.api.response_body import ResponseBody
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.store.audit import AuditEntry

router = APIRouter(route_class=SecuredRoute, tags=["audit"])


class AuditEntryView(ResponseBody):
    """An administrative action. `before` and `after` contain only what changed."""

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


@router.get("/audit", summary="List administrative actions", response_model=AuditPage, responses=EXPORTED)
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
    export_format: Format = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> AuditPage | StreamingResponse:
    """List administrative actions and what they changed, newest first. Entries contain no secrets."""

    async def page_at(position: str | None, most: int) -> AuditPage:
        rows = await list_audit(
            context,
            caller,
            limit=most + 1,
            below=number_of(position),
            destination_id=destination_id,
            action=action,
        )
        items, has_more = split_page(rows, most)
        return AuditPage(
            items=[AuditEntryView.of(item) for item in items],
            next_cursor=cursor_of(items[-1].id) if has_more else None,
        )

    return await page_or_export(
        export_format, page_at, AuditEntryView, name="audit", cursor=cursor, limit=limit
    )
