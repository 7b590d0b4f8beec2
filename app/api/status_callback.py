"""Whether the journey engine is told of a destination's final states. Where it listens is a setting."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import destinations
from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible, lock_visible
from app.admin.inputs import RequestBody
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.ids import DestinationNumber
from app.store import callbacks, driver_of

router = APIRouter(route_class=SecuredRoute, tags=["destinations"])


class StatusCallback(RequestBody):
    """Whether final states are told from now on."""

    enabled: bool


@router.get("/destinations/{destination_id}/status-callback", summary="Is the journey engine told?")
@requires(Scope.DESTINATIONS_READ)
async def status_callback(destination_id: str, caller: CurrentCaller, context: Context) -> dict[str, Any]:
    """Show whether the destination's final states are told, and what the journey engine has not taken yet."""
    async with context.engine.begin() as connection:
        found = await find_visible(connection, caller, destination_id)
        return await _shown(connection, context, found.number)


@router.post("/destinations/{destination_id}/status-callback", summary="Tell the journey engine, or no more")
@requires(Scope.DESTINATIONS_WRITE)
async def set_status_callback(
    destination_id: str, body: StatusCallback, caller: CurrentCaller, context: Context
) -> dict[str, Any]:
    """Tell final states from now on, or tell no more, not even what is still owed. Twice is once."""
    async with context.engine.begin() as connection:
        found = await lock_visible(connection, caller, destination_id)
        await destinations.set_status_callback(connection, found, body.enabled, by=caller.actor)
        return await _shown(connection, context, found.number)


async def _shown(
    connection: AsyncConnection, context: AppContext, number: DestinationNumber
) -> dict[str, Any]:
    standing = await callbacks.read_status(await driver_of(connection), number)
    return {
        "enabled": standing.enabled,
        "configured": context.callback_configured,
        "waiting": standing.waiting,
        "oldest_waiting": standing.oldest,
        "problem": standing.problem,
    }
