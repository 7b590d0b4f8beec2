"""Use cases that read the state of a destination's status callbacks, and switch them on or off."""

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible, lock_visible, set_status_callback
from app.store import callbacks
from app.store.callbacks import CallbackStatus


async def read_status_callback(context: AppContext, caller: Caller, destination_id: str) -> CallbackStatus:
    """Return whether a destination sends callbacks, and how many are not acknowledged yet."""
    async with context.transaction() as (connection, driver):
        found = await find_visible(connection, caller, destination_id)
        return await callbacks.read_status(driver, found.number, configured=context.callback_configured)


async def switch_status_callback(
    context: AppContext, caller: Caller, destination_id: str, *, enabled: bool
) -> CallbackStatus:
    """Switch the callbacks for final states on or off. Switching off drops the callbacks that wait."""
    async with context.transaction() as (connection, driver):
        found = await lock_visible(connection, caller, destination_id)
        await set_status_callback(connection, driver, found, enabled, by=caller.actor)
        return await callbacks.read_status(driver, found.number, configured=context.callback_configured)
