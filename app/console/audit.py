"""The audit page: administrative actions, newest first, filtered, exported and verified."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.audit import changed_entries, list_audit, verify_chain
from app.admin.context import AppContext
from app.api.audit_models import AuditEntryView
from app.api.export import ExportFormat, ExportPage, export
from app.api.paging import PAGE as PAGE_SIZE
from app.api.paging import Cursor, cursor_of, number_of, split_page
from app.api.secured_route import Context, requires
from app.console import audit_view, pages
from app.console.secured_page import CurrentVisitor, Form, SecuredPage
from app.console.sessions import Visitor
from app.console.wording import person
from app.domain.audit_chain import ChainBroken
from app.store import audit as stored_audit
from app.store.audit import AuditFilter

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_PAGE = "/console/audit"
_ROWS = 1_000  # rows per page of an export
Text = Annotated[str, Query(max_length=200)]


@router.get(_PAGE, response_model=None)
@requires(*Scope)
async def page(
    *,
    request: Request,
    context: Context,
    visitor: CurrentVisitor,
    actor: Text = "",
    kind: Text = "",
    action: Text = "",
    target: Text = "",
    since: Text = "",
    until: Text = "",
    cursor: Cursor = None,
) -> Response:
    """List administrative actions, newest first."""
    chosen = audit_view.AuditForm(actor, kind, action, target, since, until)
    return await _page(request, context, visitor, chosen, cursor)


@router.get(_PAGE + "/export", response_model=None)
@requires(Scope.KEYS_ADMIN)
async def download(
    *,
    context: Context,
    visitor: CurrentVisitor,
    file: ExportFormat = ExportFormat.CSV,
    actor: Text = "",
    kind: Text = "",
    action: Text = "",
    target: Text = "",
    since: Text = "",
    until: Text = "",
) -> StreamingResponse:
    """Stream the complete filtered list."""
    wanted = audit_view.AuditForm(actor, kind, action, target, since, until).wanted()

    async def fetch(cursor: str | None) -> ExportPage:
        found = await list_audit(
            context, visitor.caller, limit=_ROWS + 1, below=number_of(cursor), wanted=wanted
        )
        items, has_more = split_page(found, _ROWS)
        rows = [AuditEntryView.of(item) for item in items]
        return ExportPage(rows, cursor_of(items[-1].id) if has_more else None)

    return await export(file, AuditEntryView, fetch, name="audit")


@router.post(_PAGE + "/verify", response_model=None)
@requires(Scope.KEYS_ADMIN)
async def verify(request: Request, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Verify the complete hash chain and show the result."""
    result = await verify_chain(context)
    return await _page(
        request,
        context,
        visitor,
        audit_view.AuditForm(),
        None,
        chain=audit_view.chain_sentence(result.chain, shows_total=visitor.caller.is_platform),
        chain_is_broken=isinstance(result.chain, ChainBroken),
    )


async def _page(
    request: Request,
    context: AppContext,
    visitor: Visitor,
    chosen: "audit_view.AuditForm",
    cursor: str | None,
    **more: Any,
) -> Response:
    if not visitor.caller.may(Scope.KEYS_ADMIN):
        return pages.show(request, "not_yours.html", what="Audit", who="admins")
    wanted: AuditFilter = chosen.wanted()
    found = await list_audit(
        context, visitor.caller, limit=PAGE_SIZE + 1, below=number_of(cursor), wanted=wanted
    )
    entries, has_more = split_page(found, PAGE_SIZE)
    changed = await changed_entries(context, entries)
    ids = {name for entry in entries for name in audit_view.ids_of(entry)}
    async with context.engine.connect() as connection:
        names: Mapping[str, str] = await stored_audit.names(connection, ids)
    query = {name: value for name, value in chosen.fields().items() if value}
    older = {**query, "cursor": cursor_of(entries[-1].id)} if has_more else None
    return pages.show(
        request,
        "audit.html",
        entries=[audit_view.present(entry, names, person(entry.actor, names)) for entry in entries],
        changed=changed,
        form=chosen,
        is_filtered=bool(query),
        query=urlencode(query),
        older=None if older is None else urlencode(older),
        kinds=audit_view.KINDS,
        actions=audit_view.SENTENCES,
        **{"chain": None, "chain_is_broken": False, **more},
    )
