"""The preflight page: all checks, and a new check with Amazon."""

from starlette.responses import Response

from app.admin.access import Scope
from app.admin.destinations.preflight import Preflight, check_setup
from app.api.access.secured_route import requires
from app.console.access.secured_page import CurrentDestination, CurrentVisit, Visit, page_router
from app.console.destinations.page import PAGE, show_page, sign_in_origin
from app.store.destinations import amazon_accounts
from app.store.destinations.destinations import Destination

router = page_router()


@router.get(PAGE + "/preflight")
@requires(Scope.DESTINATIONS_READ)
async def page(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Show the checklist from stored results."""
    result = await check_setup(visit.context, visit.caller, found.id)
    return await _show(visit, found, result, rechecked=False)


@router.post(PAGE + "/preflight/ask")
@requires(Scope.DESTINATIONS_READ)
async def ask(visit: CurrentVisit, found: CurrentDestination) -> Response:
    """Check the access to the advertiser with Amazon now.

    This is a POST, because it sends a request to Amazon.
    """
    result = await check_setup(visit.context, visit.caller, found.id, ask=True)
    return await _show(visit, found, result, rechecked=True)


async def _show(visit: Visit, found: Destination, result: Preflight, *, rechecked: bool) -> Response:
    async with visit.context.engine.connect() as connection:
        account = await amazon_accounts.find(connection, found.id)
    return await show_page(
        visit,
        found,
        "overview",
        "preflight.html",
        leads_to=sign_in_origin(visit.context, found.region),
        checks=result.checks,
        ready=result.ready,
        rechecked=rechecked,
        account_currency=account and account.currency,
    )
