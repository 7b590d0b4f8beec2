"""Use cases: list the rejected events of a destination, and count them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from app.admin.context import AppContext
from app.admin.events.scan import require_mapping
from app.admin.events.search import reading_row
from app.domain.event_query import EventQuery
from app.store import PipelineConnection
from app.store.events import batches, rejections
from app.store.events.batches import DestinationRef
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
