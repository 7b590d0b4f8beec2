"""The audit page: administrative actions, newest first."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.admin.access import Scope
from app.api import audit
from app.api.paging import Cursor
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
    listed = pages.plain(
        await audit.list_all(
            caller=visitor.caller,
            context=context,
            destination_id=destination or None,
            action=action or None,
            limit=50,
            cursor=cursor,
        )
    )
    ids = {entry[member] for entry in listed["items"] for member in ("actor", "subject")}
    async with context.engine.connect() as connection:
        names = await stored_audit.names(connection, ids)
    return pages.show(
        request,
        "audit.html",
        entries=[
            {
                **entry,
                "sentence": audit_view.sentence(entry["action"]),
                "changes": audit_view.differences(entry),
                "actor_name": person(entry["actor"], names),
                "subject_name": names.get(entry["subject"], entry["subject"]),
                "page": audit_view.page_of(entry),
            }
            for entry in listed["items"]
        ],
        next_cursor=listed["next_cursor"],
        destination=destination,
        action=action,
        actions=audit_view.SENTENCES,
    )
