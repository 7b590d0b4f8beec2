"""Scan the batches of destinations for events that match a filter, newest first."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final, NamedTuple

from app.admin.events.summary import (
    THROTTLED,
    EventSummary,
    accepted_summary,
    mapping_of,
    status_and_reason,
)
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.domain.batch import EventMetadata, read_shapes
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId
from app.domain.outcomes.status import Status
from app.store import PipelineConnection
from app.store.events import batches
from app.store.events.batches import BatchRow, DestinationRef, ExceptionRow, Mappings

BATCHES_PER_QUERY: Final = 50
# At these limits a page ends, even if it has found few matching events. Its cursor continues the scan.
_MAX_BATCHES_PER_PAGE, _MAX_SCAN_SECONDS = 500, 0.03

Position = tuple[BatchId, int]
"""The id of a batch, and the position of an event in the batch."""

ReadBatches = Callable[[BatchId | None], Awaitable[Sequence[tuple[DestinationRef, BatchRow]]]]
"""Takes the highest batch id to return, or None for any.

Returns up to `BATCHES_PER_QUERY` batches with their destinations, newest first.
"""


class ScannedEvent(NamedTuple):
    """A summary and the position of its event."""

    event: EventSummary
    position: Position


@dataclass(frozen=True, slots=True)
class EventScan:
    """A page of events. `following` is where the next page continues, None at the end of the list.

    `back_to` is the acceptance time of the oldest batch that the scan read, None if it read no batch.
    """

    items: list[ScannedEvent]
    following: Position | None
    unreadable_batches: int
    back_to: datetime | None


def require_mapping(mappings: Mappings, mapping_id: str | None) -> None:
    """Raise Refusal (422) if a filter names a mapping that does not exist here."""
    if mapping_id is not None and all(mapping_id != mapping.id for mapping in mappings.values()):
        raise Refusal(ErrorCode.INVALID, None, FieldProblem("mapping_id", "unknown"))


def scanned_status(wanted: EventQuery) -> Status | None:
    """Return the status of all events that can match, or None if they can have several."""
    if wanted.status is None and wanted.reason == THROTTLED:
        return Status.QUEUED  # only queued events can be throttled
    if wanted.status is None and wanted.dismissed:
        return Status.DEAD
    return wanted.status


async def scan_events(
    connection: PipelineConnection,
    newest: ReadBatches,
    mappings: Mappings,
    wanted: EventQuery,
    *,
    before: Position | None,
    limit: int,
) -> EventScan:
    """Return up to `limit` events below `before`, newest first. A shorter page may have a next page."""
    items: list[ScannedEvent] = []
    unreadable, scanned = 0, 0
    back_to: datetime | None = None
    deadline = monotonic() + _MAX_SCAN_SECONDS
    while scanned == 0 or (scanned < _MAX_BATCHES_PER_PAGE and monotonic() < deadline):
        found = await newest(before[0] if before else None)
        candidates = [batch for _, batch in found if wanted.may_match(batch.accepted_at, batch.shapes)]
        exceptions = await exceptions_of(connection, candidates)
        searched = {batch.id for batch in candidates}
        for destination, batch in found:
            back_to = batch.accepted_at if back_to is None else min(back_to, batch.accepted_at)
            if batch.id not in searched:
                continue
            of_batch = exceptions.get(batch.id, {})
            shapes = _matching_events(destination, batch, of_batch, wanted, mappings)
            if shapes is None:
                unreadable += 1
                continue
            for shape in shapes:
                if before and batch.id == before[0] and shape.place >= before[1]:
                    continue
                event = accepted_summary(destination, batch, shape, of_batch.get(shape.place), mappings)
                items.append(ScannedEvent(event, (batch.id, shape.place)))
                if len(items) == limit:
                    return EventScan(items, items[-1].position, unreadable, back_to)
        if len(found) < BATCHES_PER_QUERY or _are_older(found, wanted.since):
            return EventScan(items, None, unreadable, back_to)
        scanned += len(found)
        # The last batch was scanned completely, to place 0. The next query starts below this batch.
        before = (found[-1][1].id, 0)
    return EventScan(items, before, unreadable, back_to)


async def exceptions_of(
    connection: PipelineConnection, found: Sequence[BatchRow]
) -> Mapping[BatchId, Mapping[int, ExceptionRow]]:
    """Return the exceptions of these batches by batch and place."""
    if not found:
        return {}
    numbers = {batch.destination for batch in found}
    return await batches.exceptions(connection, numbers, [batch.id for batch in found])


def _are_older(found: Sequence[tuple[DestinationRef, BatchRow]], since: datetime | None) -> bool:
    """Return whether all batches of a query are older than `since`. Batch ids are nearly in time order."""
    return since is not None and all(batch.accepted_at < since for _, batch in found)


def _matching_events(
    destination: DestinationRef,
    batch: BatchRow,
    exceptions: Mapping[int, ExceptionRow],
    wanted: EventQuery,
    mappings: Mappings,
) -> list[EventMetadata] | None:
    """Return the events of a batch that match the filter, newest first; None if the batch is damaged."""
    # Most events of a batch share one status: decide by status before unpacking the metadata.
    special = {
        place: wanted.includes(
            *status_and_reason(destination, batch, exception),
            dismissed=exception.dismissed_at is not None,
        )
        and wanted.has_cause(exception.amazon_code, exception.amazon_message)
        for place, exception in exceptions.items()
    }
    others = wanted.includes(*status_and_reason(destination, batch, None)) and wanted.has_cause(None, None)
    if not others and not any(special.values()):
        return []
    if (shapes := read_shapes(batch.shapes)) is None:
        return None
    return [
        shape
        for shape in reversed(shapes)
        if special.get(shape.place, others)
        and wanted.matches(shape)
        and (wanted.mapping_id is None or mapping_of(shape, mappings) == wanted.mapping_id)
    ]
