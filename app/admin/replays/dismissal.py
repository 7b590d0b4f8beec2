"""Use case: dismiss dead letters, which marks them as handled."""

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import lock_visible
from app.admin.replays.selection import selected
from app.domain.event_query import EventQuery
from app.store import audit, driver_of, replays
from app.store.audit import AuditAction


async def dismiss_dead_letters(
    context: AppContext, caller: Caller, destination_id: str, wanted: EventQuery, *, dry_run: bool
) -> tuple[int, tuple[str, ...]]:
    """Dismiss matching dead letters, or with `dry_run` only count them.

    Return their number, and the event ids that no event has. Dismissed events stay `dead` and keep their
    history. Raises Refusal (404, 409).
    """
    async with context.engine.begin() as connection:
        found = await lock_visible(connection, caller, destination_id)
        driver = await driver_of(connection)
        places, not_found = await selected(driver, found.id, found.number, wanted)
        matched = await replays.dismiss(
            driver, found.number, wanted, places, by=caller.actor, dry_run=dry_run
        )
        if matched and not dry_run:
            await audit.record(
                connection,
                caller.actor,
                AuditAction.DEAD_LETTERS_DISMISSED,
                found.id,
                destination=found.id,
                after={**wanted.document, "dismissed": matched},
            )
    return matched, not_found
