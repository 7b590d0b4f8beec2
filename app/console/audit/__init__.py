"""The audit page. It lists, filters, exports and verifies administrative actions, newest first."""

from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from app.admin import Scope
from app.admin.audit import changed_entries, list_audit, number_of_entry, verify_chain
from app.api.lists import ExportFormat, ListQuery, export
from app.api.pages import audit_page
from app.console.access.secured_page import CurrentVisit, PageRouter, Paging, Visit
from app.console.audit import view
from app.domain.audit_chain import ChainBroken, ChainHead
from app.store.audit import AuditEntry

router = PageRouter()

_PAGE = "/console/audit"
Filter = Annotated[view.AuditForm, Depends()]


@router.get(_PAGE, Scope.KEYS_ADMIN)
async def page(visit: CurrentVisit, chosen: Filter, paging: Paging) -> Response:
    """List administrative actions, newest first."""
    return await _page(visit, chosen, paging)


@router.get(_PAGE + "/export", Scope.KEYS_ADMIN)
async def download(
    visit: CurrentVisit, chosen: Filter, file: ExportFormat = ExportFormat.CSV
) -> StreamingResponse:
    """Stream the complete filtered list."""
    page_at = partial(audit_page, chosen.wanted())
    return await export(file, AuditEntry, page_at, ListQuery(visit.context), name="audit")


@router.post(_PAGE + "/verify", Scope.KEYS_ADMIN)
async def verify(visit: CurrentVisit) -> Response:
    """Verify the complete hash chain and show the result."""
    result = await verify_chain(visit.context)
    return await _page(visit, view.AuditForm(), ListQuery(visit.context), result.chain)


async def _page(
    visit: Visit, chosen: view.AuditForm, paging: ListQuery, chain: ChainHead | ChainBroken | None = None
) -> Response:
    rows = await list_audit(visit.context, limit=paging.most, below=paging.record_id, wanted=chosen.wanted())
    content = visit.listed(rows, lambda entry: (number_of_entry(visit.context, entry),), paging)
    names = await visit.names(id_ for entry in rows for id_ in (entry.actor, entry.subject))
    return await visit.show(
        "audit.html",
        **content,
        changed=await changed_entries(visit.context, content["items"]),
        words=view,
        names=names,
        form=chosen,
        query=urlencode(chosen.parameters),
        chain=chain and view.chain_sentence(chain, shows_total=visit.caller.is_platform),
        chain_is_broken=isinstance(chain, ChainBroken),
    )
