"""Use cases that list the records of rejected events and count all rejected events exactly."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.event_list import find_visible_row, require_mapping
from app.domain.outcomes.rejection_details import rejection_detail
from app.store import PipelineConnection, event_history, rejection_records
from app.store.event_history import DestinationRef
from app.store.rejection_records import RejectionFilter, RejectionRecord, RejectionSummary


@dataclass(frozen=True, slots=True)
class RejectionEntry:
    """A record of a rejected event, with the fixed sentence for the reason of the rejection."""

    record: RejectionRecord
    detail: str


async def list_rejections(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    wanted: RejectionFilter,
    *,
    limit: int,
    below: int | None = None,
) -> list[RejectionEntry]:
    """Return up to `limit` records of a destination, newest first. Raises Refusal (404, 422).

    `wanted` filters the records. With `below`, return only records with a lower id.
    """
    await context.write_rejections()
    async with context.pool.acquire() as connection:
        destination = await find_visible_row(connection, caller, destination_id)
        await _require_mapping(connection, destination, wanted)
        rows = await rejection_records.page(connection, destination.number, wanted, limit=limit, below=below)
    return [RejectionEntry(row, rejection_detail(row.reason, row.field, row.mapping_field)) for row in rows]


async def summarize_rejections(
    context: AppContext, caller: Caller, destination_id: str, wanted: RejectionFilter
) -> Sequence[RejectionSummary]:
    """Count rejected events by reason, mapping and source path. Raises Refusal (404, 422)."""
    await context.write_rejections()
    async with context.pool.acquire() as connection:
        destination = await find_visible_row(connection, caller, destination_id)
        await _require_mapping(connection, destination, wanted)
        return await rejection_records.summary(
            connection, destination.number, wanted, days=context.rejection_days
        )


async def _require_mapping(
    connection: PipelineConnection, destination: DestinationRef, wanted: RejectionFilter
) -> None:
    if wanted.mapping_id is not None:
        mappings = await event_history.mappings(connection, destination.id)
        require_mapping(mappings, wanted.mapping_id)
