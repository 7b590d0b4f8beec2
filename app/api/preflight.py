"""Preflight over HTTP: the requirements for a destination's first delivery, as a checklist."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible, lock_visible
from app.admin.inputs import PreflightConfirmation
from app.admin.preflight import PreflightFacts, run_preflight
from app.amazon.accounts import CannotTell, NotVisible, Visible
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.crypto import CannotDecrypt
from app.domain.outcomes.outcome import Unauthorized
from app.store import amazon_accounts, audit, destinations, readiness, sign_ins, token_leases
from app.store.destinations import Destination

router = APIRouter(route_class=SecuredRoute, tags=["destinations"])


@router.get("/destinations/{destination_id}/preflight", summary="Check the setup")
@requires(Scope.DESTINATIONS_READ)
async def preflight(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    ask: Annotated[bool, Query(description="Call Amazon now to check access to the advertiser.")] = False,
) -> dict[str, Any]:
    """Check every requirement for delivery. `ready` is true when no check has failed.

    Uses what Amazon returned at the last sign-in; `ask=true` calls Amazon again, which may take ten seconds.
    """
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        sealed = await sign_ins.access_token(connection, destination.id) if ask else None
    # No transaction is open during the call to Amazon.
    live_answer = None if sealed is None else await _find_advertiser(context, destination, sealed)
    async with context.engine.connect() as connection:
        facts = PreflightFacts(
            destination=destination,
            configured=context.amazon_configured,
            account=await amazon_accounts.find(connection, destination.id),
            live_answer=live_answer,
            confirmed=await amazon_accounts.confirmations(connection, destination.id),
            accepted=await destinations.ever_accepted(connection, destination.number),
            delivered=await destinations.delivered(connection, destination.number),
            seconds_apart=await readiness.seconds_apart(connection, _local_clock(context)),
        )
    checks = run_preflight(facts)
    return {
        "ready": all(check.status != "failed" for check in checks),
        "checks": [asdict(check) for check in checks],
    }


async def _find_advertiser(
    context: AppContext, destination: Destination, sealed: bytes
) -> Visible | NotVisible | CannotTell:
    try:
        token = context.vault.open(sealed, place=token_leases.access_place(destination.id)).decode()
    except CannotDecrypt:
        return CannotTell("unreadable")
    answer = await context.find_advertiser(destination.region, token, destination.advertiser_id)
    # An expired access token says nothing about the sign-in: the next delivery refreshes it.
    return CannotTell("unauthorized") if isinstance(answer, Unauthorized) else answer


@router.post("/destinations/{destination_id}/preflight", summary="Confirm a manual check")
@requires(Scope.DESTINATIONS_WRITE)
async def confirm(
    destination_id: str, body: PreflightConfirmation, caller: CurrentCaller, context: Context
) -> dict[str, Any]:
    """Confirm a check that Amazon's API cannot answer: `permission` or `terms`. `false` withdraws it."""
    async with context.engine.begin() as connection:
        destination = await lock_visible(connection, caller, destination_id)
        if body.confirmed:
            changed = await amazon_accounts.confirm(connection, destination.id, body.check, caller.actor)
        else:
            changed = await amazon_accounts.withdraw(connection, destination.id, body.check)
        if changed:
            await audit.record(
                connection,
                actor=caller.actor,
                action=audit.AuditAction.PREFLIGHT_CONFIRMED
                if body.confirmed
                else audit.AuditAction.PREFLIGHT_WITHDRAWN,
                subject=destination.id,
                destination=destination.id,
                after={"check": body.check},
            )
    return await preflight(destination_id, caller, context)


def _local_clock(context: Context) -> float:
    """Return the time of this machine's clock in epoch seconds; `context.now` is the database's time."""
    return context.now().timestamp() - (context.clock.offset if context.clock is not None else 0.0)
