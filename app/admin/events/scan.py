"""Scan the batches of destinations for events that match a filter, newest first."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Final, NamedTuple

from app.admin import invalid
from app.admin.events.summary import THROTTLED, EventSummary, accepted_summary, mapping_of, status_and_reason
from app.domain.batch import EventMetadata, digest_of, read_shapes
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId
from app.domain.outcomes.status import Status
from app.store import MAX_BIGINT, PipelineConnection
from app.store.events import batches, id_digests
from app.store.events.batches import BatchRow, DestinationRef, ExceptionRow, Mappings, Numbers

BATCHES_PER_QUERY: Final = 50
# At these limits a page ends, even if it has found few matching events. Its cursor continues the scan.
_MAX_BATCHES_PER_PAGE, _MAX_SCAN_SECONDS = 500, 0.03
_MAX_ID_SECONDS: Final = 0.2  # to find an id: few batches are read, most of the time the database searches

Position = tuple[BatchId, int]
"""The id of a batch, and the position of an event in the batch."""


class ScanPage(NamedTuple):
    """Batches with their destinations, newest first. The next ones are below `below`; None at the end."""

    batches: Sequence[tuple[DestinationRef, BatchRow]]
    below: BatchId | None


ReadBatches = Callable[[BatchId | None], Awaitable[ScanPage]]
"""Takes the highest batch id to return, or None for any."""


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
        raise invalid("mapping_id", "unknown")


def _status_of_all(wanted: EventQuery) -> Status | None:
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
    deadline = monotonic() + (_MAX_SCAN_SECONDS if wanted.searched_id is None else _MAX_ID_SECONDS)
    while scanned == 0 or (scanned < _MAX_BATCHES_PER_PAGE and monotonic() < deadline):
        found, below = await newest(highest_id(before))
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
        if below is None or are_older([batch for _, batch in found], wanted.since):
            return EventScan(items, None, unreadable, back_to)
        scanned += len(found)
        before = (below, 0)
    return EventScan(items, before, unreadable, back_to)


def highest_id(before: Position | None) -> BatchId | None:
    """Return the highest id of a batch with events below a position, or None if there is no position."""
    return None if before is None else BatchId(before[0] if before[1] else before[0] - 1)


@dataclass(slots=True)
class BatchReader:
    """Reads batches of destinations that may hold matching events, newest first.

    For a filter with an id, these are the batches that may hold the id, by its digest.
    """

    connection: PipelineConnection
    numbers: Numbers
    wanted: EventQuery
    _spans: list[id_digests.BatchSpan] = field(default_factory=list)
    _are_all: bool = False

    async def page(
        self, highest: BatchId | None, *, limit: int = BATCHES_PER_QUERY
    ) -> tuple[list[BatchRow], BatchId | None]:
        """Return batches up to an id, and the id below which the next ones are; None at the end.

        A page may be empty.
        """
        span = await self._span(BatchId(MAX_BIGINT) if highest is None else highest)
        if span is None:
            return [], None
        found = await batches.newest(
            self.connection,
            self.numbers,
            wanted=_status_of_all(self.wanted),
            before=span.last,
            after=span.first,
            limit=limit,
        )
        if len(found) == limit:
            return found, found[-1].id
        return found, span.first if span.first > 0 else None

    async def _span(self, highest: BatchId) -> id_digests.BatchSpan | None:
        if (id_ := self.wanted.searched_id) is None:
            return id_digests.BatchSpan(BatchId(0), highest)
        self._spans = [span for span in self._spans if span.first <= highest]
        if not self._spans and not self._are_all:
            since = self.wanted.since
            self._spans, self._are_all = await id_digests.next_spans(
                self.connection,
                digest_of(id_),
                highest=highest,
                since=None if since is None else since.astimezone(UTC).date(),
            )
        return self._spans[0]._replace(last=min(self._spans[0].last, highest)) if self._spans else None


async def exceptions_of(
    connection: PipelineConnection, found: Sequence[BatchRow]
) -> Mapping[BatchId, Mapping[int, ExceptionRow]]:
    """Return the exceptions of these batches by batch and place."""
    if not found:
        return {}
    numbers = {batch.destination for batch in found}
    return await batches.exceptions(connection, numbers, [batch.id for batch in found])


def are_older(found: Sequence[BatchRow], since: datetime | None) -> bool:
    """Return whether all batches of a query are older than `since`. Batch ids are nearly in time order."""
    return since is not None and bool(found) and all(batch.accepted_at < since for batch in found)


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
            *status_and_reason(destination, batch, exception), dismissed=exception.dismissed_at is not None
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
