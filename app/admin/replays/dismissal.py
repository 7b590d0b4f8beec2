"""Use case: dismiss dead letters, which marks them as handled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import lock_visible
from app.admin.replays.selection import NOT_FOUND, selected
from app.domain.event_query import EventQuery
from app.store import audit
from app.store.audit import AuditAction
from app.store.replays import dead_letters


@dataclass(frozen=True, slots=True, kw_only=True)
class Dismissal:
    """The number of dead letters that were dismissed. For a dry run, the number that would be dismissed."""

    dry_run: bool
    matched: int
    dismissed: int
    not_found: Annotated[Sequence[str], Field(description=NOT_FOUND)]


async def dismiss_dead_letters(
    context: AppContext, caller: Caller, destination_id: str, wanted: EventQuery, *, dry_run: bool
) -> Dismissal:
    """Dismiss matching dead letters, or with `dry_run` only count them. Raises Refusal (404, 409).

    Dismissed events stay `dead` and keep their history.
    """
    async with context.transaction() as (connection, driver):
        found = await lock_visible(connection, caller, destination_id)
        events = await selected(driver, found.id, found.number, wanted)
        matched = await dead_letters.dismiss(
            driver, found.number, wanted, events.places, by=caller.actor, dry_run=dry_run
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
    return Dismissal(dry_run=dry_run, matched=matched, dismissed=matched, not_found=events.not_found)
