"""List administrative actions over HTTP."""

from functools import partial
from typing import Annotated

from fastapi import Query
from fastapi.responses import StreamingResponse

from app.admin.access import Scope
from app.admin.inputs import AuditActionName, AuditKindName, Instant
from app.api.access.secured_route import Context, SecuredRouter
from app.api.export import EXPORTED, Listed
from app.api.pages import AuditPage, audit_page
from app.store.audit import AuditEntry, AuditFilter

router = SecuredRouter("audit")


@router.get(
    "/audit",
    Scope.KEYS_ADMIN,
    summary="List administrative actions",
    response_model=AuditPage,
    responses=EXPORTED,
)
async def list_all(
    context: Context,
    listing: Listed,
    destination_id: Annotated[
        str | None, Query(max_length=64, description="Only entries of this destination.")
    ] = None,
    action: Annotated[
        AuditActionName | None, Query(description="Only this action, such as `mapping.published`.")
    ] = None,
    kind: Annotated[
        AuditKindName | None, Query(description="Only actions with this prefix, such as `mapping`.")
    ] = None,
    actor: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Only actions of this key, or of people whose name contains this text.",
        ),
    ] = None,
    target: Annotated[
        str | None, Query(max_length=200, description="Only actions on this id, or on this destination.")
    ] = None,
    since: Annotated[Instant | None, Query(description="Only actions at or after this time.")] = None,
    until: Annotated[Instant | None, Query(description="Only actions before this time.")] = None,
) -> AuditPage | StreamingResponse:
    """List administrative actions and what they changed, newest first. Entries contain no secrets."""
    page_at = partial(
        audit_page, context, AuditFilter(actor, kind, action, target, destination_id, since, until)
    )
    return await listing.answer(AuditEntry, page_at, name="audit")
