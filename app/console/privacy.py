"""Privacy page: erase a person, read the receipt, and find the consent records of each destination."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from app.admin.access import Scope
from app.admin.erasure import IDENTIFIERS, erase_person, find_receipt
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.api.secured_route import Context, requires
from app.console import pages
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.store import destinations

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

_LABELS = {
    "email": "E-mail address",
    "phone": "Phone number",
    "maid": "Mobile advertising ID",
    "hash": "SHA-256 of any of these",
}


@router.get("/console/privacy", response_model=None)
@requires(Scope.ERASE)
async def page(
    request: Request,
    context: Context,
    visitor: CurrentVisitor,
    erasure: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    """Show the form, the receipt of an erasure, and where the consent records are."""
    async with context.engine.connect() as connection:
        names = await destinations.names(connection, only=visitor.caller.only)
    receipt = None if erasure is None else (await find_receipt(context, visitor.caller, erasure)).body
    return pages.show(
        request,
        "privacy.html",
        kinds=[(kind, _LABELS.get(kind, kind)) for kind in IDENTIFIERS],
        destinations=names,
        receipt=receipt,
    )


@router.post("/console/privacy/erase", response_model=None)
@requires(Scope.ERASE)
async def erase(context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Erase a person. The value is neither shown again nor stored unencrypted."""
    kind, value = form_text(form, "kind"), form_text(form, "value")
    if kind not in IDENTIFIERS or not 1 <= len(value) <= 1024:
        raise Refusal(
            ErrorCode.INVALID, "Choose what you enter, and enter it.", FieldProblem("value", "missing")
        )
    id_, _ = await erase_person(context, visitor.caller, {kind: value})
    return RedirectResponse(f"/console/privacy?erasure={id_}", 303)
