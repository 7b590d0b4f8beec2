"""Preflight over HTTP: what stands between a destination and its first event at Amazon, as a checklist."""

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


@router.get("/destinations/{destination_id}/preflight", summary="What is still missing?")
@requires(Scope.DESTINATIONS_READ)
async def preflight(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    ask: Annotated[bool, Query(description="Ask Amazon now whether it shows the advertiser.")] = False,
) -> dict[str, Any]:
    """Go through all that must be right before events arrive at Amazon. `ready` when no line has failed.

    What Amazon showed at the last sign-in is remembered; `ask=true` asks again, which may take ten seconds.
    """
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        sealed = await sign_ins.access_token(connection, destination.id) if ask else None
    # No transaction is open while Amazon is asked.
    asked = None if sealed is None else await _ask(context, destination, sealed)
    async with context.engine.connect() as connection:
        known = PreflightFacts(
            destination=destination,
            configured=context.amazon_configured,
            account=await amazon_accounts.find(connection, destination.id),
            asked=asked,
            confirmed=await amazon_accounts.confirmations(connection, destination.id),
            accepted=await destinations.ever_accepted(connection, destination.number),
            delivered=await destinations.delivered(connection, destination.number),
            seconds_apart=await readiness.seconds_apart(connection, _our_clock(context)),
        )
    lines = run_preflight(known)
    return {
        "ready": all(line.status != "failed" for line in lines),
        "checks": [asdict(line) for line in lines],
    }


async def _ask(
    context: AppContext, destination: Destination, sealed: bytes
) -> Visible | NotVisible | CannotTell:
    try:
        token = context.vault.open(sealed, place=token_leases.access_place(destination.id)).decode()
    except CannotDecrypt:
        return CannotTell("unreadable")
    answer = await context.find_advertiser(destination.region, token, destination.advertiser_id)
    # An access token that has run out says nothing of the sign-in: the next send refreshes it.
    return CannotTell("unauthorized") if isinstance(answer, Unauthorized) else answer


@router.post("/destinations/{destination_id}/preflight", summary="Confirm what Amazon cannot be asked")
@requires(Scope.DESTINATIONS_WRITE)
async def confirm(
    destination_id: str, body: PreflightConfirmation, caller: CurrentCaller, context: Context
) -> dict[str, Any]:
    """Record that somebody looked: the Events-manager `permission`, or its `terms`; false takes it back."""
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


def _our_clock(context: Context) -> float:
    """Return what this machine's own clock says; `wired.now` tells the database's time."""
    return context.now().timestamp() - (context.clock.offset if context.clock is not None else 0.0)
