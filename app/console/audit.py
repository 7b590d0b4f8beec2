"""The audit page: administrative actions, newest first."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.audit import list_audit
from app.api.paging import PAGE as PAGE_SIZE
from app.api.paging import Cursor, cursor_of, number_of, split_page
from app.api.secured_route import Context, requires
from app.console import audit_view, pages
from app.console.secured_page import CurrentVisitor, SecuredPage
from app.console.wording import person
from app.store import audit as stored_audit

router = APIRouter(route_class=SecuredPage, include_in_schema=False)


@router.get("/console/audit", response_model=None)
@requires(*Scope)
async def page(
    *,
    request: Request,
    context: Context,
    visitor: CurrentVisitor,
    destination: Annotated[str, Query(max_length=64)] = "",
    action: Annotated[str, Query(max_length=64)] = "",
    cursor: Cursor = None,
) -> Response:
    """List administrative actions, newest first."""
    if not visitor.caller.may(Scope.KEYS_ADMIN):
        return pages.show(request, "not_yours.html", what="Audit", who="admins")
    found = await list_audit(
        context,
        visitor.caller,
        limit=PAGE_SIZE + 1,
        below=number_of(cursor),
        destination_id=destination or None,
        action=action or None,
    )
    entries, has_more = split_page(found, PAGE_SIZE)
    ids = {name for entry in entries for name in (entry.actor, entry.subject)}
    async with context.engine.connect() as connection:
        names = await stored_audit.names(connection, ids)
    return pages.show(
        request,
        "audit.html",
        entries=[
            {
                "at": entry.at,
                "actor": entry.actor,
                "subject": entry.subject,
                "sentence": audit_view.sentence(entry.action),
                "changes": audit_view.differences(entry),
                "actor_name": person(entry.actor, names),
                "subject_name": names.get(entry.subject, entry.subject),
                "page": audit_view.page_of(entry),
            }
            for entry in entries
        ],
        next_cursor=cursor_of(entries[-1].id) if has_more else None,
        destination=destination,
        action=action,
        actions=audit_view.SENTENCES,
    )
