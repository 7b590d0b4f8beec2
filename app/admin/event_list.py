"""List the accepted events of a destination, newest first, with the status and reason of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.ids import require_destination_id
from app.admin.refusals import ErrorCode, Refusal
from app.domain.batch import EventMetadata, may_hold_id, read_shapes
from app.domain.destination import State
from app.domain.ids import BatchId, DestinationId, MappingId, MappingNumber
from app.domain.outcomes.reasons import REASONS, JourneyCode
from app.domain.outcomes.status import Status, status_of
from app.store import PipelineConnection, event_history
from app.store.event_history import BatchRow, DestinationRef, ExceptionRow

THROTTLED = "throttled"
_SIGN_IN_PREFIX = "sign_in_"
_BATCHES_PER_QUERY = 50
# A filter that few events match ends a page early; its cursor continues the scan.
_MAX_BATCHES_PER_PAGE, _MAX_SCAN_SECONDS = 500, 0.1

Mappings = Mapping[MappingNumber, tuple[MappingId, str]]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to list; None means any. `since` is a time of acceptance."""

    status: Status | None = None
    reason: str | None = None
    since: datetime | None = None
    mapping_id: str | None = None
    execution_id: str | None = None
    until: datetime | None = None
    journey_id: str | None = None
    node_id: str | None = None

    @property
    def ids(self) -> dict[str, str]:
        """The wanted ids of the journey, by the name of the member."""
        wanted = {
            "execution_id": self.execution_id, "journey_id": self.journey_id, "node_id": self.node_id,
        }  # fmt: skip
        return {name: value for name, value in wanted.items() if value}

    def includes(self, status: Status, reason: str | None) -> bool:
        """Return whether an event of this status and reason is wanted."""
        return self.status in (None, status) and self.reason in (None, reason)


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """One event of a list. Members read from its metadata are None where that is damaged."""

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


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events. `last_place` is where the next page continues, None at the end of the list."""

    items: list[ListedEvent]
    last_place: tuple[BatchId, int] | None
    unreadable_batches: int


async def find_visible_row(
    connection: PipelineConnection, caller: Caller, destination_id: str
) -> DestinationRef:
    """Return the destination if the caller may see it. Raises Refusal (404)."""
    require_destination_id(destination_id)
    found = (
        await event_history.destination(connection, DestinationId(destination_id))
        if caller.sees(destination_id)
        else None
    )
    if found is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    return found


async def list_destination_events(
    context: AppContext,
    caller: Caller,
    destination_id: str,
    wanted: EventFilter,
    *,
    before: tuple[BatchId, int] | None,
    limit: int,
) -> EventPage:
    """Return a page of a destination's events in one snapshot. Raises Refusal (404)."""
    async with (
        context.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        destination = await find_visible_row(connection, caller, destination_id)
        return await list_events(connection, destination, wanted, before=before, limit=limit)


async def list_events(
    connection: PipelineConnection,
    destination: DestinationRef,
    wanted: EventFilter,
    *,
    before: tuple[BatchId, int] | None,
    limit: int,
) -> EventPage:
    """Return up to `limit` events below `before`, newest first. A short page may still have a next one."""
    mappings = await event_history.mappings(connection, destination.id)
    # Only queued events can be throttled, so other batches need no scan.
    status = Status.QUEUED if wanted.reason == THROTTLED and wanted.status is None else wanted.status
    items: list[ListedEvent] = []
    unreadable, scanned = 0, 0
    deadline = monotonic() + _MAX_SCAN_SECONDS
    while scanned == 0 or (scanned < _MAX_BATCHES_PER_PAGE and monotonic() < deadline):
        batches = await event_history.newest(
            connection,
            destination.number,
            wanted=status,
            since=wanted.since,
            before=before[0] if before else None,
            limit=_BATCHES_PER_QUERY,
        )
        exceptions: dict[BatchId, dict[int, ExceptionRow]] = {}
        found = await event_history.exceptions(
            connection, destination.number, [batch.id for batch in batches]
        )
        for (batch_id, place), exception in found.items():
            exceptions.setdefault(batch_id, {})[place] = exception
        for batch in batches:
            of_batch = exceptions.get(batch.id, {})
            shapes = _matching_events(destination, batch, of_batch, wanted, mappings)
            if shapes is None:
                unreadable += 1
                continue
            for shape in shapes:
                if before and batch.id == before[0] and shape.place >= before[1]:
                    continue
                items.append(listed_event(destination, batch, shape, of_batch.get(shape.place), mappings))
                if len(items) == limit:
                    return EventPage(items, (batch.id, shape.place), unreadable)
        if len(batches) < _BATCHES_PER_QUERY:
            return EventPage(items, None, unreadable)
        scanned += len(batches)
        # Place 0 of the last batch was scanned: the next query continues below it.
        before = (batches[-1].id, 0)
    return EventPage(items, before, unreadable)


def _matching_events(
    destination: DestinationRef,
    batch: BatchRow,
    exceptions: Mapping[int, ExceptionRow],
    wanted: EventFilter,
    mappings: Mappings,
) -> list[EventMetadata] | None:
    """Return the events of a batch that match the filter, newest first; None where it cannot be read."""
    if wanted.until is not None and batch.accepted_at >= wanted.until:
        return []
    ids = wanted.ids
    if not all(may_hold_id(batch.shapes, id_) for id_ in ids.values()):
        return []
    # Most events of a batch share one status: decide by status before unpacking the metadata.
    special = {
        place: wanted.includes(*status_and_reason(destination, batch, exception))
        for place, exception in exceptions.items()
    }
    others = wanted.includes(*status_and_reason(destination, batch, None))
    if not others and not any(special.values()):
        return []
    if (shapes := read_shapes(batch.shapes)) is None:
        return None
    return [
        shape
        for shape in reversed(shapes)
        if special.get(shape.place, others)
        and all(getattr(shape, name) == id_ for name, id_ in ids.items())
        and (wanted.mapping_id is None or _mapping_id(shape, mappings) == wanted.mapping_id)
    ]


def status_and_reason(
    destination: DestinationRef, batch: BatchRow, exception: ExceptionRow | None
) -> tuple[Status, str | None]:
    """Return the status and reason of an event: from its exception row if it has one, else its batch."""
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
    """Return one event as lists and its history show it."""
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
    )


def _mapping_id(shape: EventMetadata, mappings: Mappings) -> MappingId | None:
    found = mappings.get(MappingNumber(shape.mapping))
    return found[0] if found else None
