"""Use case: read the history of one event from the ledger, its batch and the recorded rejections."""

from dataclasses import replace

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.event_description import EventRows, accepted_history, duplicate_history, rejected_history
from app.admin.event_list import Mappings, find_visible_row
from app.admin.event_records import EventHistory, EventLocation, RecordedRejection
from app.admin.refusals import ErrorCode, Refusal
from app.domain.batch import EventMetadata, read_shapes
from app.domain.ids import DestinationNumber, MappingNumber
from app.domain.ledger_keys import event_key
from app.domain.outcomes.reasons import JourneyCode
from app.domain.outcomes.rejection_details import rejection_detail
from app.store import PipelineConnection, event_attempts, event_history, ledger, rejection_records

_MOST_REJECTIONS = 50  # of one event

_STATE_MISSING = (
    "The event was accepted, but its delivery state is missing: stored data is damaged. "
    "Ask the operator to run doctor."
)


async def read_event_history(
    context: AppContext, caller: Caller, destination_id: str, event_id: str, mapping_id: str | None
) -> EventHistory:
    """Return the history of an event. Raises Refusal: 404, or 409 if several mappings accepted this id."""
    await context.write_rejections()
    async with (
        context.pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        destination = await find_visible_row(connection, caller, destination_id)
        mappings = await event_history.mappings(connection, destination.id)
        keys = {
            event_key(destination.id, mapping, event_id): mapping
            for mapping, _ in mappings.values()
            if mapping_id in (None, mapping)
        }
        generation = await ledger.current_generation(connection)
        found = await ledger.find(connection, generation, list(keys))
        places = {key: (row.batch, row.place) for key, row in found.items()}
        if not found:
            duplicates = {
                row.key: row for row in await event_attempts.mapped_duplicates(connection, list(keys))
            }
            places = {key: (row.batch, row.place) for key, row in duplicates.items()}
        rejections = await _rejections_of(connection, destination.number, event_id, mapping_id)
        if not places and rejections:
            return rejected_history(destination.id, event_id, mapping_id, rejections)
        if not places:
            raise Refusal(ErrorCode.NOT_FOUND, "This destination accepted no event with this id.")
        if len(places) > 1:
            raise Refusal(ErrorCode.EVENT_AMBIGUOUS, None, mapping_ids=sorted(keys[key] for key in places))
        ((key, (batch, place)),) = places.items()
        location = EventLocation(event_id, keys[key], batch, place)
        if found:
            accepted = await _history(connection, context, destination, location, mappings)
            return replace(accepted, rejections=rejections)
        return await _history_of_duplicate(
            connection, context, caller, destination, location, duplicates[key]
        )


async def _history(
    connection: PipelineConnection,
    context: AppContext,
    destination: event_history.DestinationRef,
    location: EventLocation,
    mappings: Mappings,
) -> EventHistory:
    """Return the history of an accepted event. Raises Refusal (404) if its partition was dropped."""
    batches = await event_history.batches(connection, destination.number, location.batch)
    for batch in batches:
        shape = _shape_at(batch, location.place)
        # Compare the event id too: a batch id could be assigned twice on different days.
        if shape is None or shape.event_id != location.event_id:
            continue
        if mappings.get(MappingNumber(shape.mapping), (None,))[0] == location.mapping_id:
            return await _describe(connection, context, destination, batch, location.place, shape, mappings)
    for batch in batches:
        if read_shapes(batch.shapes) is None:
            described = await _describe(
                connection, context, destination, batch, location.place, None, mappings
            )
            return replace(described, event_id=location.event_id, mapping_id=location.mapping_id)
    if not batches and await event_history.has_content(connection, location.batch):
        raise Refusal(ErrorCode.NOT_FOUND, _STATE_MISSING)
    raise _dropped()


async def _history_of_duplicate(
    connection: PipelineConnection,
    context: AppContext,
    caller: Caller,
    destination: event_history.DestinationRef,
    location: EventLocation,
    duplicate: event_attempts.MappedDuplicate,
) -> EventHistory:
    """Return the history of the event whose mapped Amazon event id this duplicate repeated.

    This original event may belong to another destination of the advertiser. The history then lacks the
    original's attempts and replays. It has the original's ids only if the caller may see that destination.
    """
    is_here = duplicate.destination == destination.id
    origin = destination if is_here else await event_history.destination(connection, duplicate.destination)
    if origin is None:
        raise _dropped()
    mappings = await event_history.mappings(connection, origin.id)
    batches = await event_history.batches(connection, origin.number, duplicate.batch)
    shape = _shape_at(batches[0], duplicate.place) if batches else None
    if shape is None:
        raise _dropped()
    original = await _describe(connection, context, origin, batches[0], duplicate.place, shape, mappings)
    return duplicate_history(
        original,
        location,
        destination.id,
        duplicate.answered_at,
        may_name=is_here or caller.sees(origin.id),
    )


async def _rejections_of(
    connection: PipelineConnection, number: DestinationNumber, event_id: str, mapping_id: str | None
) -> list[RecordedRejection]:
    """Return the recorded rejections under an event id, newest first."""
    records = await rejection_records.of_event(
        connection, [number], event_id, mapping_id=mapping_id, limit=_MOST_REJECTIONS
    )
    return [
        RecordedRejection(
            received_at=record.received_at,
            code=JourneyCode(record.code),
            reason=record.reason,
            field=record.field,
            mapping_field=record.mapping_field,
            also=record.also,
            detail=rejection_detail(record.reason, record.field, record.mapping_field),
            request_id=record.request_id,
            mapping_id=record.mapping_id,
            execution_id=record.execution_id,
            journey_id=record.journey_id,
            node_id=record.node_id,
        )
        for record in records
    ]


def _shape_at(batch: event_history.BatchRow, place: int) -> EventMetadata | None:
    return next((shape for shape in read_shapes(batch.shapes) or () if shape.place == place), None)


def _dropped() -> Refusal:
    return Refusal(
        ErrorCode.NOT_FOUND, "The event was accepted, but its history was deleted after the retention period."
    )


async def _describe(
    connection: PipelineConnection,
    context: AppContext,
    destination: event_history.DestinationRef,
    batch: event_history.BatchRow,
    place: int,
    shape: EventMetadata | None,
    mappings: Mappings,
) -> EventHistory:
    found = await event_history.exceptions(connection, [destination.number], [batch.id])
    exception = found.get((batch.id, place))
    if exception is not None and exception.day != batch.day:
        exception = None  # of another batch: an id could be assigned twice on different days
    attempts, has_all_attempts = await event_attempts.attempts(
        connection,
        destination.number,
        batch=batch.id,
        place=place,
        day=batch.day,
        ids=batch.attempts,
    )
    replays = await event_attempts.replays(
        connection, [*batch.replays, *(exception.replays if exception else ())]
    )
    rows = EventRows(destination, batch, shape, exception, attempts, has_all_attempts, replays)
    return accepted_history(rows, mappings, context.max_event_age)
