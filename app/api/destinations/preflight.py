"""Preflight over HTTP: a checklist of what a destination needs before its first delivery."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.admin.access import Scope
from app.admin.destinations.preflight import Preflight, check_setup, confirm_check
from app.admin.inputs import PreflightConfirmation
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires

router = APIRouter(route_class=SecuredRoute, tags=["destinations"])


@router.get("/destinations/{destination_id}/preflight", summary="Check the setup")
@requires(Scope.DESTINATIONS_READ)
async def preflight(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    ask: Annotated[bool, Query(description="Call Amazon now to check access to the advertiser.")] = False,
) -> Preflight:
    """Check every requirement for delivery. `ready` is true when no check has failed.

    The check uses Amazon's reply from the last sign-in. With `ask=true`, it calls Amazon again, which may
    take ten seconds.
    """
    return await check_setup(context, caller, destination_id, ask=ask)


@router.post("/destinations/{destination_id}/preflight", summary="Confirm a manual check")
@requires(Scope.DESTINATIONS_WRITE)
async def confirm(
    destination_id: str, body: PreflightConfirmation, caller: CurrentCaller, context: Context
) -> Preflight:
    """Confirm `permission` or `terms`, the checks that only people can make.

    `confirmed: false` withdraws it.
    """
    return await confirm_check(context, caller, destination_id, body.check, confirmed=body.confirmed)
