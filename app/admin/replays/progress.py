"""Use cases that list and read the replays of a destination, with the progress of each replay."""

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible
from app.admin.refusals import ErrorCode, Refusal
from app.store.replays import progress
from app.store.replays.progress import ReplayProgress, StoredReplay


async def list_replays(
    context: AppContext, caller: Caller, destination_id: str, *, limit: int, below: int | None = None
) -> list[StoredReplay]:
    """Return up to `limit` replays of a destination, newest first. Raises Refusal (404)."""
    async with context.transaction() as (connection, driver):
        found = await find_visible(connection, caller, destination_id)
        return await progress.progress(driver, found.number, limit=limit, below=below)


async def find_replay(
    context: AppContext, caller: Caller, destination_id: str, replay_id: str
) -> ReplayProgress:
    """Return a replay of a destination. Raises Refusal (404)."""
    async with context.transaction() as (connection, driver):
        found = await find_visible(connection, caller, destination_id)
        rows = await progress.progress(driver, found.number, limit=1, id=replay_id)
    if not rows:
        raise Refusal(ErrorCode.NOT_FOUND)
    return rows[0].progress
