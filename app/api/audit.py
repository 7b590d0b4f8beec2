"""List administrative actions over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.admin.access import Scope
from app.admin.audit import list_audit
from app.admin.inputs import Instant
from app.api.audit_models import AuditEntryView, AuditPage
from app.api.export import EXPORTED, Format, page_or_export
from app.api.paging import PAGE, Cursor, Limit, cursor_of, number_of, split_page
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.store.audit import AuditFilter

router = APIRouter(route_class=SecuredRoute, tags=["audit"])


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
    kind: Annotated[
        str | None, Query(max_length=64, description="Only actions with this prefix, such as `mapping`.")
    ] = None,
    actor: Annotated[
        str | None,
        Query(max_length=200, description="Only actions of this key, or of people with this in their name."),
    ] = None,
    target: Annotated[
        str | None, Query(max_length=200, description="Only actions on this id, or on this destination.")
    ] = None,
    since: Annotated[Instant | None, Query(description="Only actions at or after this time.")] = None,
    until: Annotated[Instant | None, Query(description="Only actions before this time.")] = None,
    export_format: Format = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> AuditPage | StreamingResponse:
    """List administrative actions and what they changed, newest first. Entries contain no secrets."""

    wanted = AuditFilter(actor, kind, action, target, destination_id, since, until)

    async def page_at(position: str | None, most: int) -> AuditPage:
        rows = await list_audit(
            context,
            caller,
            limit=most + 1,
            below=number_of(position),
            wanted=wanted,
        )
        items, has_more = split_page(rows, most)
        return AuditPage(
            items=[AuditEntryView.of(item) for item in items],
            next_cursor=cursor_of(items[-1].id) if has_more else None,
        )

    return await page_or_export(
        export_format, page_at, AuditEntryView, name="audit", cursor=cursor, limit=limit
    )
