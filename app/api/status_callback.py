"""Status callbacks of a destination: messages to the journey engine about the final states of events.

Only the operator can set the address to which callbacks are sent (STATUS_CALLBACK_URL).
"""

from fastapi import APIRouter

from app.admin.access import Scope
from app.admin.inputs import RequestBody
from app.admin.status_callback import StatusCallbackState, read_status_callback, switch_status_callback
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires

router = APIRouter(route_class=SecuredRoute, tags=["destinations"])


class StatusCallbackChange(RequestBody):
    """Switches the status callbacks of a destination on or off."""

    enabled: bool


@router.get("/destinations/{destination_id}/status-callback", summary="Read the status callbacks")
@requires(Scope.DESTINATIONS_READ)
async def status_callback(
    destination_id: str, caller: CurrentCaller, context: Context
) -> StatusCallbackState:
    """Return whether the destination sends callbacks, and how many are not acknowledged yet."""
    return await read_status_callback(context, caller, destination_id)


@router.post("/destinations/{destination_id}/status-callback", summary="Switch status callbacks on or off")
@requires(Scope.DESTINATIONS_WRITE)
async def set_status_callback(
    destination_id: str, body: StatusCallbackChange, caller: CurrentCaller, context: Context
) -> StatusCallbackState:
    """Switch the callbacks for final states on or off. Switching off drops the callbacks that wait."""
    return await switch_status_callback(context, caller, destination_id, enabled=body.enabled)
