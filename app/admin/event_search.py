"""Search all visible destinations: an event by its id, or the events of a journey execution."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from app.admin.access import Caller
from app.admin.context import AppContext
from app.domain.batch import EventMetadata, may_hold_id, read_shapes
from app.domain.ids import BatchId, MappingNumber
from app.domain.ledger_keys import event_key
from app.store import event_history, ledger, metrics
from app.store.metrics import Mapped

_BATCHES_PER_QUERY = 40
_TIME_LIMIT_S = 0.12  # then the search stops and says how far back it went
_MAX_FOUND = 50


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """An event of a journey execution, and the mapping that converted it."""

    event: EventMetadata
    accepted_at: datetime
    mapping: Mapped


@dataclass(slots=True)
class ExecutionSearch:
    """The result of a search for a journey execution. `before` is where to continue, None at the end."""

    found: list[FoundEvent] = field(default_factory=list)
    events: int = 0
    unreadable: int = 0  # batches
    back_to: datetime | None = None
    before: BatchId | None = None


async def find_event(context: AppContext, caller: Caller, event_id: str) -> list[Mapped]:
    """Return the mappings that accepted an event with this id, from the keys that ingest uses too."""
    async with context.pool.acquire() as connection:
        known = await metrics.every_mapping(connection, caller.only)
        keys = {event_key(mapping.destination, mapping.id, event_id): mapping for mapping in known}
        generation = await ledger.current_generation(connection)
        return [keys[key] for key in await ledger.find(connection, generation, list(keys))]


async def find_execution(
    context: AppContext, caller: Caller, execution_id: str, before: BatchId | None
) -> ExecutionSearch:
    """Search batches for the events of a journey execution, newest first, within the time limit."""
    result, until = ExecutionSearch(before=before), context.monotonic() + _TIME_LIMIT_S
    async with context.pool.acquire() as connection:
        known = {mapping.number: mapping for mapping in await metrics.every_mapping(connection, caller.only)}
        visible = None if caller.only is None else {each.destination_number for each in known.values()}
        while context.monotonic() < until and len(result.found) < _MAX_FOUND:
            batches = await event_history.latest(
                connection,
                None if visible is None else list(visible),
                before=result.before,
                limit=_BATCHES_PER_QUERY,
            )
            for batch in batches:
                of_batch = matching_events(batch, execution_id, known)
                result.found += of_batch or ()
                result.unreadable += of_batch is None
                result.events += batch.events
                result.back_to, result.before = batch.accepted_at, batch.id
            if len(batches) < _BATCHES_PER_QUERY:
                result.before = None
                break
    return result


def matching_events(
    batch: event_history.StoredMetadata, execution_id: str, known: Mapping[MappingNumber, Mapped]
) -> Sequence[FoundEvent] | None:
    """Return a batch's events of a journey execution, newest first; None if the batch is unreadable."""
    if not may_hold_id(batch.shapes, execution_id):
        return ()
    if (events := read_shapes(batch.shapes)) is None:
        return None
    return [
        FoundEvent(event, batch.accepted_at, known[MappingNumber(event.mapping)])
        for event in reversed(events)
        if event.execution_id == execution_id and event.mapping in known
    ]
