"""The acts that change what a destination does with its events: pause, resume, disconnect, delete.

Those that stop sending first commit the fact, which starts no further request, and answer once every
request already started has settled or timed out: after the answer nothing is sent.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.admin.access import Scope
from app.admin.destinations import audit_view, find_visible, lock_visible, public_view
from app.admin.refusals import ErrorCode, Refusal
from app.api.etags import etag, require_match
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.destination import State
from app.store import audit, destinations, sign_ins
from app.store.destinations import Destination

router = APIRouter(route_class=SecuredRoute, tags=["destinations"])


@router.post("/destinations/{destination_id}/pause", summary="Pause a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def pause(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> dict[str, Any]:
    """Hold the destination's events; they are accepted and wait. Nothing is sent after the answer."""
    found = await _set_paused(destination_id, caller, context, True)
    await context.delivery_control.quiesce(found.number)
    response.headers["ETag"] = etag(found.version)
    return public_view(found)


@router.post("/destinations/{destination_id}/resume", summary="Resume a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def resume(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> dict[str, Any]:
    """Let the destination's events go; it is again what it was before the pause."""
    found = await _set_paused(destination_id, caller, context, False)
    await context.wake(found.number)
    response.headers["ETag"] = etag(found.version)
    return public_view(found)


async def _set_paused(
    destination_id: str, caller: CurrentCaller, context: Context, paused: bool
) -> Destination:
    async with context.engine.begin() as connection:
        before = await lock_visible(connection, caller, destination_id)
        if before.paused == paused:
            return before
        after = await destinations.set_paused(connection, before.id, paused)
        await audit.record(
            connection,
            actor=caller.actor,
            action=audit.AuditAction.DESTINATION_PAUSED if paused else audit.AuditAction.DESTINATION_RESUMED,
            subject=after.id,
            destination=after.id,
            before=audit_view(before),
            after=audit_view(after),
        )
    return after


@router.post("/destinations/{destination_id}/disconnect", summary="Disconnect from Amazon")
@requires(Scope.DESTINATIONS_WRITE)
async def disconnect(
    destination_id: str, caller: CurrentCaller, context: Context, response: Response
) -> dict[str, Any]:
    """Delete the tokens. Events that wait are kept: then it is `needs_reconnect`, else `draft`."""
    async with context.engine.begin() as connection:
        before = await lock_visible(connection, caller, destination_id)
        after = before
        if before.sign_in != "none":
            # Parked first, whatever waits: an event that arrives meanwhile is kept.
            after = await destinations.set_sign_in(connection, before.id, "broken", "disconnected")
            await sign_ins.delete(connection, before.id)
            await audit.record(
                connection,
                actor=caller.actor,
                action=audit.AuditAction.DESTINATION_DISCONNECTED,
                subject=after.id,
                destination=after.id,
                before=audit_view(before),
                after=audit_view(after),
            )
    if before.sign_in != "none":
        await context.delivery_control.quiesce(after.number)
        async with context.engine.begin() as connection:
            await destinations.hold_flushes(connection)
            after = await lock_visible(connection, caller, destination_id)
            still = (after.sign_in, after.sign_in_reason) == ("broken", "disconnected")
            if still and not await context.delivery_control.waiting(connection, after.number):
                after = await destinations.set_sign_in(connection, after.id, "none")
    response.headers["ETag"] = etag(after.version)
    return public_view(after)


@router.delete("/destinations/{destination_id}", summary="Delete a destination")
@requires(Scope.DESTINATIONS_WRITE)
async def delete(
    destination_id: str,
    caller: CurrentCaller,
    context: Context,
    request: Request,
    discard: Annotated[bool, Query(description="Give up events that wait: they become dead.")] = False,
) -> dict[str, Any]:
    """Archive the destination for good; its history stays readable. Refused while events wait.

    Deleting again answers the same, and finishes a discard that was cut short.
    """
    async with context.engine.begin() as connection:
        await find_visible(connection, caller, destination_id)
        await destinations.hold_flushes(connection)
        before = await destinations.lock(connection, destination_id)
        assert before is not None
        after = before
        if before.state is not State.ARCHIVED:
            require_match(request, before.version)
            waiting = await context.delivery_control.waiting(connection, before.number)
            if waiting and not discard:
                raise Refusal(
                    ErrorCode.EVENTS_WAITING,
                    f"{waiting} accepted events wait for this destination. Let them be delivered, or delete "
                    "with discard=true, which makes them dead with reason discarded.",
                    waiting=waiting,
                )
            await sign_ins.delete(connection, before.id)
            await destinations.set_sign_in(connection, before.id, "none")
            after = await destinations.archive(connection, before.id)
            await audit.record(
                connection,
                actor=caller.actor,
                action=audit.AuditAction.DESTINATION_ARCHIVED,
                subject=after.id,
                destination=after.id,
                before=audit_view(before),
                after={**audit_view(after), "discard": discard},
            )
    await context.delivery_control.quiesce(after.number)
    discarded = 0
    if discard:
        async with context.engine.begin() as connection:
            discarded = await context.delivery_control.discard(connection, after.number)
    return {**public_view(after), "discarded": discarded}
