"""Use cases that read the state of a destination's status callbacks, and switch them on or off."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible, lock_visible, set_status_callback
from app.domain.ids import DestinationNumber
from app.store import PipelineConnection, callbacks


@dataclass(frozen=True, slots=True)
class StatusCallbackState:
    """The status callbacks of a destination."""

    enabled: bool
    configured: Annotated[
        bool, Field(description="STATUS_CALLBACK_URL is set; without it no callback is sent.")
    ]
    waiting: Annotated[
        int, Field(description="Final states that the journey engine has not acknowledged yet.")
    ]
    oldest_waiting: datetime | None
    problem: Annotated[str | None, Field(description="Code of the last failure, such as `status_500`.")]


async def read_status_callback(
    context: AppContext, caller: Caller, destination_id: str
) -> StatusCallbackState:
    """Return whether a destination sends callbacks, and how many are not acknowledged yet."""
    async with context.transaction() as (connection, driver):
        found = await find_visible(connection, caller, destination_id)
        return await _state(driver, context, found.number)


async def switch_status_callback(
    context: AppContext, caller: Caller, destination_id: str, *, enabled: bool
) -> StatusCallbackState:
    """Switch the callbacks for final states on or off. Switching off drops the callbacks that wait."""
    async with context.transaction() as (connection, driver):
        found = await lock_visible(connection, caller, destination_id)
        await set_status_callback(connection, driver, found, enabled, by=caller.actor)
        return await _state(driver, context, found.number)


async def _state(
    driver: PipelineConnection, context: AppContext, number: DestinationNumber
) -> StatusCallbackState:
    status = await callbacks.read_status(driver, number)
    return StatusCallbackState(
        status.enabled, context.callback_configured, status.waiting, status.oldest, status.problem
    )
