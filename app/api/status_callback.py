"""Status callbacks of a destination: whether the journey engine is informed of final states.

The address is a setting of the operator (STATUS_CALLBACK_URL), never of a caller.
"""

from datetime import datetime

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import destinations
from app.admin.access import Scope
from app.admin.context import AppContext
from app.admin.destinations import find_visible, lock_visible
from app.admin.inputs import RequestBody
from app.api.response_body import ResponseBody
from app.api.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.domain.ids import DestinationNumber
from app.store import callbacks, driver_of

router = APIRouter(route_class=SecuredRoute, tags=["destinations"])


class StatusCallbackChange(RequestBody):
    """Whether the destination sends status callbacks from now on."""

    enabled: bool


class StatusCallbackView(ResponseBody):
    """The status callbacks of a destination."""

    enabled: bool
    configured: bool = Field(description="STATUS_CALLBACK_URL is set; without it no callback is sent.")
    waiting: int = Field(description="Final states that the journey engine has not acknowledged yet.")
    oldest_waiting: datetime | None
    problem: str | None = Field(description="Why the last call failed: a word, or e.g. `status_500`.")


@router.get("/destinations/{destination_id}/status-callback", summary="Read the status callbacks")
@requires(Scope.DESTINATIONS_READ)
async def status_callback(destination_id: str, caller: CurrentCaller, context: Context) -> StatusCallbackView:
    """Return whether the destination sends callbacks, and how many are not acknowledged yet."""
    async with context.engine.begin() as connection:
        found = await find_visible(connection, caller, destination_id)
        return await _view(connection, context, found.number)


@router.post("/destinations/{destination_id}/status-callback", summary="Switch status callbacks on or off")
@requires(Scope.DESTINATIONS_WRITE)
async def set_status_callback(
    destination_id: str, body: StatusCallbackChange, caller: CurrentCaller, context: Context
) -> StatusCallbackView:
    """Send a callback for each final state from now on, or stop. Stopping drops waiting callbacks."""
    async with context.engine.begin() as connection:
        found = await lock_visible(connection, caller, destination_id)
        await destinations.set_status_callback(connection, found, body.enabled, by=caller.actor)
        return await _view(connection, context, found.number)


async def _view(
    connection: AsyncConnection, context: AppContext, number: DestinationNumber
) -> StatusCallbackView:
    status = await callbacks.read_status(await driver_of(connection), number)
    return StatusCallbackView(
        enabled=status.enabled,
        configured=context.callback_configured,
        waiting=status.waiting,
        oldest_waiting=status.oldest,
        problem=status.problem,
    )
