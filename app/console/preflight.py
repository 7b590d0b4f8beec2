"""The preflight page: every check, a re-check with Amazon, and manual confirmations."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.preflight import Preflight, check_setup, confirm_check
from app.api.secured_route import Context, requires
from app.console import confirmations, pages
from app.console.destination import PAGE, content_of, sign_in_origin
from app.console.secured_page import CurrentVisitor, Form, SecuredPage, form_text
from app.console.sessions import Visitor
from app.console.setup_view import check_views
from app.store import amazon_accounts

router = APIRouter(route_class=SecuredPage, include_in_schema=False)


@router.get(PAGE + "/preflight", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def page(request: Request, destination_id: str, context: Context, visitor: CurrentVisitor) -> Response:
    """Show the checklist from stored results."""
    result = await check_setup(context, visitor.caller, destination_id)
    return await _show(request, destination_id, context, visitor, result, rechecked=False)


@router.post(PAGE + "/preflight/ask", response_model=None)
@requires(Scope.DESTINATIONS_READ)
async def ask(
    request: Request, destination_id: str, context: Context, visitor: CurrentVisitor, form: Form
) -> Response:
    """Check access to the advertiser with Amazon now. A POST, because it sends a request to Amazon."""
    result = await check_setup(context, visitor.caller, destination_id, ask=True)
    return await _show(request, destination_id, context, visitor, result, rechecked=True)


@router.post(PAGE + "/preflight/confirm", response_model=None)
@requires(Scope.DESTINATIONS_WRITE)
async def confirm(destination_id: str, context: Context, visitor: CurrentVisitor, form: Form) -> Response:
    """Confirm a manual check, or withdraw the confirmation."""
    check = form_text(form, "check")
    confirmed = form_text(form, "confirmed") == "yes"
    await confirm_check(context, visitor.caller, destination_id, check, confirmed=confirmed)
    done = "check_confirmed" if confirmed else "check_withdrawn"
    return confirmations.redirect(context, f"/console/destinations/{destination_id}/preflight", done)


async def _show(
    request: Request,
    destination_id: str,
    context: AppContext,
    visitor: Visitor,
    result: Preflight,
    *,
    rechecked: bool,
) -> Response:
    async with context.engine.connect() as connection:
        found = await find_visible(connection, visitor.caller, destination_id)
        account = await amazon_accounts.find(connection, found.id)
    return pages.show(
        request,
        "preflight.html",
        leads_to=sign_in_origin(context, found.region),
        **content_of(context, found, visitor, "overview"),
        checks=check_views(result.checks),
        ready=result.ready,
        rechecked=rechecked,
        account_currency=account and account.currency,
    )
