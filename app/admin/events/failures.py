"""Use cases about events that failed: rejected events, and groups of dead and expired ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.events.scan import require_mapping
from app.admin.events.search import find_visible_row, reading_row
from app.domain.event_query import EventQuery
from app.store import PipelineConnection
from app.store.events import batches, failures, rejections
from app.store.events.batches import DestinationRef, MappingRef
from app.store.events.failures import FailureGroup
from app.store.events.rejections import RejectionRecord, RejectionSummary


async def list_rejections(
    context: AppContext, destination_id: str, wanted: EventQuery, *, limit: int, below: int | None = None
) -> list[RejectionRecord]:
    """Return up to `limit` records of a destination, newest first. Raises Refusal (404, 422).

    With `below`, return only records with a lower id.
    """
    await context.write_rejections()
    async with context.pool.acquire() as connection:
        destination = await _find(connection, context.caller, destination_id, wanted)
        return await rejections.newest(connection, [destination.number], wanted, limit=limit, below=below)


async def summarize_rejections(
    context: AppContext, destination_id: str, wanted: EventQuery
) -> Sequence[RejectionSummary]:
    """Count rejected events by reason, mapping and source path. Raises Refusal (404, 422)."""
    await context.write_rejections()
    async with context.pool.acquire() as connection:
        destination = await _find(connection, context.caller, destination_id, wanted)
        return await rejections.summary(connection, destination.number, wanted, days=context.rejection_days)


async def _find(
    connection: PipelineConnection, caller: Caller, destination_id: str, wanted: EventQuery
) -> DestinationRef:
    destination = await find_visible_row(connection, caller, destination_id)
    if wanted.mapping_id is not None:
        require_mapping(await batches.mappings(connection, [destination.id]), wanted.mapping_id)
    return destination


@dataclass(frozen=True, slots=True)
class Failure:
    """A group of failed events. `mapping` is their mapping; None if they have several."""

    group: FailureGroup
    mapping: MappingRef | None


async def list_failures(
    context: AppContext, destination_id: str, *, since: datetime | None = None
) -> list[Failure]:
    """Return the groups of dead and expired events accepted since a time. Raises Refusal (404)."""
    async with reading_row(context, destination_id) as (connection, destination):
        mappings = await batches.mappings(connection, [destination.id])
        only = next(iter(mappings)) if len(mappings) == 1 else None
        groups = await failures.groups(connection, destination.number, since=since, only_mapping=only)
    return [
        Failure(group, None if group.mapping is None else mappings.get(group.mapping)) for group in groups
    ]
