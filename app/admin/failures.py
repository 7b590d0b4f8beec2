"""Use case: the failed events of a destination, grouped by what went wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.event_list import find_visible_row
from app.domain.batch import read_shapes
from app.domain.ids import BatchId, MappingId, MappingNumber
from app.store import PipelineConnection, event_history, event_search, failures
from app.store.failures import FailureGroup


@dataclass(frozen=True, slots=True)
class Failure:
    """A group of failed events, and the mappings (id, name) that some of them came from."""

    group: FailureGroup
    mappings: Sequence[tuple[MappingId, str]]


async def list_failures(
    context: AppContext, caller: Caller, destination_id: str, *, since: datetime | None = None
) -> list[Failure]:
    """Return the groups of dead and expired events since a time. Raises Refusal (404)."""
    async with context.pool.acquire() as connection:
        destination = await find_visible_row(connection, caller, destination_id)
        groups = await failures.groups(connection, destination.number, since=since)
        mappings = await event_history.mappings(connection, destination.id)
        if len(mappings) == 1:
            return [Failure(group, list(mappings.values())) for group in groups]
        samples = {batch for group in groups for batch, _ in group.samples}
        numbers = await _mapping_numbers(connection, destination, samples)
    found = []
    for group in groups:
        known = dict.fromkeys(numbers[sample] for sample in group.samples if sample in numbers)
        found.append(Failure(group, [mappings[number] for number in known if number in mappings]))
    return found


async def _mapping_numbers(
    connection: PipelineConnection, destination: event_history.DestinationRef, batches: set[BatchId]
) -> Mapping[tuple[BatchId, int], MappingNumber]:
    """Return the mapping of each event of these batches."""
    found = await event_search.batches(connection, destination.number, batches)
    return {
        (batch.id, shape.place): MappingNumber(shape.mapping)
        for batch in found
        for shape in read_shapes(batch.shapes) or ()
    }
