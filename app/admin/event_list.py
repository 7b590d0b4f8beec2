"""List the accepted events of destinations, newest first, with the status and reason of each."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Annotated

from pydantic import Field

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.ids import require_id
from app.admin.refusals import ErrorCode, FieldProblem, Refusal
from app.domain.batch import EventMetadata, read_shapes
from app.domain.destination import State
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId, DestinationId, DestinationNumber, MappingId, MappingNumber
from app.domain.outcomes.reasons import REASONS, JourneyCode
from app.domain.outcomes.status import Status, status_of
from app.store import PipelineConnection, event_history
from app.store.event_history import BatchRow, DestinationRef, ExceptionRow

THROTTLED = "throttled"
_SIGN_IN_PREFIX = "sign_in_"
BATCHES_PER_QUERY = 50
# At these limits a page ends, even if it has found few matching events. Its cursor continues the scan.
_MAX_BATCHES_PER_PAGE, _MAX_SCAN_SECONDS = 500, 0.03

DISMISSED = "When a person marked the dead letter as handled."

Mappings = Mapping[MappingNumber, tuple[MappingId, str]]
Position = tuple[BatchId, int]
"""The id of a batch, and the position of an event in the batch."""


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """One event of a list. Members that come from its metadata are None if the metadata is damaged."""

    event_id: str | None
    status: Status
    code: JourneyCode | None
    reason: str | None
    accepted_at: datetime
    event_time: datetime | None
    event_type: str | None
    execution_id: str | None
    mapping_id: str | None
    mapping_version: int | None
    amazon_code: str | None
    amazon_message: str | None
    journey_id: str | None
    node_id: str | None
    request_id: Annotated[str | None, Field(description="The `X-Request-Id` of the post that contained it.")]
    dismissed_at: Annotated[datetime | None, Field(description=DISMISSED)]
    dismissed_by: str | None


@dataclass(frozen=True, slots=True)
class ScannedEvent:
    """A listed event with its destination and its position."""

    destination: DestinationNumber
    position: Position
    event: ListedEvent


@dataclass(frozen=True, slots=True)
class EventScan:
    """A page of events. `following` is where the next page continues, None at the end of the list.

    `back_to` is the acceptance time of the oldest batch that the scan read, None if it read no batch.
    """

    items: list[ScannedEvent]
    following: Position | None
    unreadable_batches: int
    back_to: datetime | None


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events. `last_place` is where the next page continues, None at the end of the list."""

    items: list[ListedEvent]
    last_place: Position | None
    unreadable_batches: int


async def find_visible_row(
    connection: PipelineConnection, caller: Caller, destination_id: str
) -> DestinationRef:
    """Return the destination if the caller may see it. Raises Refusal (404)."""
    require_id("dst_", destination_id)
    found = (
        await event_history.destination(connection, DestinationId(destination_id))
        if caller.sees(destination_id)
        else None
    )
    if found is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    return found


def require_mapping(mappings: Mappings, mapping_id: str | None) -> None:
    """Raise Refusal (422) if a filter names a mapping that does not exist here."""
    if mapping_id is not None and all(mapping_id != id_ for id_, _ in mappings.values()):
        raise Refusal(ErrorCode.INVALID, None, FieldProblem("mapping_id", "unknown"))


async def list_destination_events(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    wanted: EventQuery,
    *,
    before: Position | None,
    limit: int,
) -> EventPage:
    """Return a page of a destination's events in one snapshot. Raises Refusal (404)."""
    async with (
        context.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        destination = await find_visible_row(connection, caller, destination_id)
        mappings = await event_history.mappings(connection, destination.id)
        require_mapping(mappings, wanted.mapping_id)
        newest = newest_of(connection, destination, wanted)
        scan = await scan_events(connection, newest, mappings, wanted, before=before, limit=limit)
    return EventPage([item.event for item in scan.items], scan.following, scan.unreadable_batches)


async def mapping_names(context: AppContext, caller: Caller, destination_id: str) -> dict[str, str]:
    """Return the names of a destination's mappings, also deleted ones, by id. Raises Refusal (404)."""
    async with context.pool.acquire() as connection:
        destination = await find_visible_row(connection, caller, destination_id)
        return dict((await event_history.mappings(connection, destination.id)).values())


ReadBatches = Callable[[BatchId | None], Awaitable[Sequence[tuple[DestinationRef, BatchRow]]]]
"""Takes the highest batch id to return, or None for any.

Returns up to `BATCHES_PER_QUERY` batches with their destinations, newest first.
"""


def newest_of(connection: PipelineConnection, destination: DestinationRef, wanted: EventQuery) -> ReadBatches:
    """Return a function that reads the batches of a destination that can contain the wanted status."""
    status = wanted.status
    if status is None and wanted.reason == THROTTLED:
        status = Status.QUEUED  # only queued events can be throttled
    if status is None and wanted.dismissed:
        status = Status.DEAD

    async def read(before: BatchId | None) -> list[tuple[DestinationRef, BatchRow]]:
        batches = await event_history.newest(
            connection, destination.number, wanted=status, before=before, limit=BATCHES_PER_QUERY
        )
        return [(destination, batch) for batch in batches]

    return read


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
        batches = await newest(before[0] if before else None)
        candidates = {
            batch.id: destination.number
            for destination, batch in batches
            if wanted.may_match(batch.accepted_at, batch.shapes)
        }
        exceptions: Mapping[BatchId, Mapping[int, ExceptionRow]] = {}
        if candidates:
            exceptions = await event_history.exceptions_by_batch(
                connection, list(set(candidates.values())), list(candidates)
            )
        for destination, batch in batches:
            back_to = batch.accepted_at if back_to is None else min(back_to, batch.accepted_at)
            if batch.id not in candidates:
                continue
            of_batch = exceptions.get(batch.id, {})
            shapes = _matching_events(destination, batch, of_batch, wanted, mappings)
            if shapes is None:
                unreadable += 1
                continue
            for shape in shapes:
                if before and batch.id == before[0] and shape.place >= before[1]:
                    continue
                event = listed_event(destination, batch, shape, of_batch.get(shape.place), mappings)
                items.append(ScannedEvent(destination.number, (batch.id, shape.place), event))
                if len(items) == limit:
                    return EventScan(items, (batch.id, shape.place), unreadable, back_to)
        if len(batches) < BATCHES_PER_QUERY or _are_older(batches, wanted.since):
            return EventScan(items, None, unreadable, back_to)
        scanned += len(batches)
        # The last batch was scanned completely, to place 0. The next query starts below this batch.
        before = (batches[-1][1].id, 0)
    return EventScan(items, before, unreadable, back_to)


def _are_older(batches: Sequence[tuple[DestinationRef, BatchRow]], since: datetime | None) -> bool:
    """Return whether all batches of a query are older than `since`. Batch ids are nearly in time order."""
    return since is not None and all(batch.accepted_at < since for _, batch in batches)


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
        and (wanted.mapping_id is None or _mapping_id(shape, mappings) == wanted.mapping_id)
    ]


def status_and_reason(
    destination: DestinationRef, batch: BatchRow, exception: ExceptionRow | None
) -> tuple[Status, str | None]:
    """Return the status and reason of an event, from its exception row if it has one, else from its batch."""
    status = status_of(
        disposition=batch.disposition,
        tries=batch.tries,
        exception=exception.status if exception else None,
        state=State(destination.state),
    )
    reason = exception.reason if exception else batch.reason
    if status is Status.PARKED and destination.sign_in_reason:
        reason = destination.sign_in_reason
        if reason != "endpoint_not_found":
            reason = _SIGN_IN_PREFIX + reason
    if status is Status.DELIVERED:
        reason = None
    if status is Status.QUEUED and batch.tries == 0:
        reason = THROTTLED if destination.throttled_until is not None else None
    return status, reason


def listed_event(
    destination: DestinationRef,
    batch: BatchRow,
    shape: EventMetadata | None,
    exception: ExceptionRow | None,
    mappings: Mappings,
) -> ListedEvent:
    """Return an event with the members that lists and the event's history show."""
    status, reason = status_and_reason(destination, batch, exception)
    return ListedEvent(
        event_id=shape.event_id if shape else None,
        status=status,
        code=REASONS[reason].code if reason is not None and reason in REASONS else None,
        reason=reason,
        accepted_at=batch.accepted_at,
        event_time=shape.event_at if shape else None,
        event_type=shape.event_type if shape else None,
        execution_id=shape.execution_id if shape else None,
        mapping_id=_mapping_id(shape, mappings) if shape else None,
        mapping_version=shape.mapping_version if shape else None,
        amazon_code=exception.amazon_code if exception else None,
        amazon_message=exception.amazon_message if exception else None,
        journey_id=shape.journey_id if shape else None,
        node_id=shape.node_id if shape else None,
        request_id=shape.request_id if shape else None,
        dismissed_at=exception.dismissed_at if exception else None,
        dismissed_by=exception.dismissed_by if exception else None,
    )


def _mapping_id(shape: EventMetadata, mappings: Mappings) -> MappingId | None:
    found = mappings.get(MappingNumber(shape.mapping))
    return found[0] if found else None
