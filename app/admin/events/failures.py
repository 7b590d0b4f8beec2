"""Use cases about events that failed: rejected events, and groups of dead and expired ones."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from app.admin.context import AppContext
from app.admin.events.scan import require_mapping
from app.admin.events.search import reading_row
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
    async with _reading(context, destination_id, wanted) as (connection, destination):
        return await rejections.newest(connection, [destination.number], wanted, limit=limit, below=below)


async def summarize_rejections(
    context: AppContext, destination_id: str, wanted: EventQuery
) -> Sequence[RejectionSummary]:
    """Count rejected events by reason, mapping and source path. Raises Refusal (404, 422)."""
    async with _reading(context, destination_id, wanted) as (connection, destination):
        return await rejections.summary(connection, destination.number, wanted, days=context.rejection_days)


@asynccontextmanager
async def _reading(
    context: AppContext, destination_id: str, wanted: EventQuery
) -> AsyncIterator[tuple[PipelineConnection, DestinationRef]]:
    await context.intake.recorder.write()
    async with reading_row(context, destination_id) as (connection, destination):
        if wanted.mapping_id is not None:
            require_mapping(await batches.mappings(connection, [destination.id]), wanted.mapping_id)
        yield connection, destination


async def list_failures(
    context: AppContext, destination_id: str, *, since: datetime | None = None
) -> list[tuple[FailureGroup, MappingRef | None]]:
    """Return the groups of dead and expired events accepted since a time, with the mapping of each.

    A group of several mappings has none. Raises Refusal (404).
    """
    async with reading_row(context, destination_id) as (connection, destination):
        mappings = await batches.mappings(connection, [destination.id])
        only = next(iter(mappings)) if len(mappings) == 1 else None
        groups = await failures.groups(connection, destination.number, since=since, only_mapping=only)
    return [(group, None if group.mapping is None else mappings.get(group.mapping)) for group in groups]
