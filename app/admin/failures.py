"""Use case: the failed events of a destination, grouped by what went wrong."""

from dataclasses import dataclass
from datetime import datetime

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.event_list import find_visible_row
from app.domain.ids import MappingId
from app.store import event_history, failures
from app.store.failures import FailureGroup


@dataclass(frozen=True, slots=True)
class Failure:
    """A group of failed events. `mapping` is the id and name of their mapping; None if they have several."""

    group: FailureGroup
    mapping: tuple[MappingId, str] | None


async def list_failures(
    context: AppContext, caller: Caller, destination_id: str, *, since: datetime | None = None
) -> list[Failure]:
    """Return the groups of dead and expired events accepted since a time. Raises Refusal (404)."""
    async with context.pool.acquire() as connection:
        destination = await find_visible_row(connection, caller, destination_id)
        mappings = await event_history.mappings(connection, destination.id)
        only = next(iter(mappings)) if len(mappings) == 1 else None
        groups = await failures.groups(connection, destination.number, since=since, only_mapping=only)
    return [
        Failure(group, None if group.mapping is None else mappings.get(group.mapping)) for group in groups
    ]
