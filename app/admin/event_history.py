"""Use case: read the history of one event: its status, attempts, replays and erasure."""

from dataclasses import asdict, replace
from datetime import datetime

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.event_list import Mappings, find_visible_row, listed_event
from app.admin.event_records import (
    EventAttempt,
    EventHistory,
    EventLocation,
    EventReplay,
    FirstEvent,
    OmittedMatchKey,
    RecordedRejection,
)
from app.admin.refusals import ErrorCode, Refusal
from app.domain.batch import EventMetadata, read_shapes
from app.domain.ids import DestinationNumber, MappingNumber
from app.domain.ledger_keys import event_key
from app.domain.outcomes.event_history import (
    AttemptRecord,
    EventLife,
    ItemOutcome,
    carrying_attempts,
    item_outcomes,
)
from app.domain.outcomes.explain import EventState, explain, explain_duplicate
from app.domain.outcomes.reasons import DEAD_LETTERS, REASONS, DeadLetter, JourneyCode
from app.domain.outcomes.rejection_details import rejection_detail
from app.domain.outcomes.status import FINAL, Status
from app.store import PipelineConnection, event_attempts, event_history, ledger, rejection_records

_MOST_REJECTIONS = 50  # of one event

_STATE_MISSING = (
    "The event was accepted, but its delivery state is missing: stored data is damaged. "
    "Ask the operator to run doctor."
)
_METADATA_DAMAGED = (
    " Its stored metadata is damaged: event time, type, match keys and warnings cannot be read."
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
            return _rejected_history(destination.id, event_id, mapping_id, rejections)
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
    """Return the history of an accepted event. Raises Refusal (404) once its partition was dropped."""
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
    """Return the history of the original event, for an event that is a duplicate by its mapped eventId.

    If the original belongs to another destination of the advertiser, only callers that may see that
    destination get its ids, and its attempts and replays are left out.
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
    may_name = is_here or caller.sees(origin.id)
    original_id = original.event_id if may_name else None
    shown = replace(
        original,
        event_id=location.event_id,
        destination_id=destination.id,
        mapping_id=location.mapping_id,
        duplicate_of=FirstEvent(
            event_id=original_id,
            destination_id=origin.id if may_name else None,
            mapping_id=original.mapping_id if may_name else None,
            answered_at=duplicate.answered_at,
        ),
        explanation=explain_duplicate(
            original_id, duplicate.answered_at, original.explanation, is_here=is_here
        ),
    )
    return (
        shown
        if is_here
        else replace(
            shown, attempts=(), replays=(), execution_id=None, journey_id=None, node_id=None, request_id=None
        )
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
            detail=rejection_detail(record.reason, record.field, record.mapping_field),
            request_id=record.request_id,
            mapping_id=record.mapping_id,
            execution_id=record.execution_id,
            journey_id=record.journey_id,
            node_id=record.node_id,
        )
        for record in records
    ]


def _rejected_history(
    destination_id: str, event_id: str, mapping_id: str | None, rejections: list[RecordedRejection]
) -> EventHistory:
    """Return the history of an event that was rejected and never accepted."""
    last = rejections[0]
    return EventHistory(
        event_id=event_id,
        status="rejected",
        code=last.code,
        reason=last.reason,
        accepted_at=None,
        event_time=None,
        event_type=None,
        execution_id=last.execution_id,
        mapping_id=mapping_id or last.mapping_id,
        mapping_version=None,
        amazon_code=None,
        amazon_message=None,
        journey_id=last.journey_id,
        node_id=last.node_id,
        request_id=last.request_id,
        destination_id=destination_id,
        match_keys=[],
        dropped_match_keys=[],
        warnings=[],
        attempts=[],
        attempts_complete=True,
        tries=0,
        dead_letter=None,
        next_attempt_at=None,
        expires_at=None,
        delivered_at=None,
        erased_at=None,
        replays=[],
        duplicate_of=None,
        rejections=rejections,
        explanation=f"The event was rejected on receipt and not stored. {last.detail} "
        f"{REASONS[last.reason].remedy}",
    )


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
        exception = None
    summary = listed_event(destination, batch, shape, exception, mappings)
    status = summary.status
    erased_at = exception.erased_at if exception else None
    delivered_at = _delivered_at(batch, exception)
    due_at = exception.due_at if exception else batch.due_at
    blocked_until = destination.throttled_until
    if blocked_until is not None:
        due_at = max(due_at, blocked_until)
    event_at = shape.event_at if shape else exception.event_at if exception else batch.first_event
    state = EventState(
        status=status,
        tries=max(batch.tries, exception.tries if exception else 0),
        reason=summary.reason,
        event_at=event_at,
        due_at=due_at,
        finished_at=delivered_at or (exception.changed_at if exception else batch.settled_at),
        amazon_message=exception.amazon_message if exception else None,
        max_age=context.max_event_age,
        erased_at=erased_at,
    )
    newest, are_all = await event_attempts.attempts(
        connection,
        destination.number,
        batch=batch.id,
        place=place,
        day=batch.day,
        ids=batch.attempts,
    )
    attempts = carrying_attempts(
        EventLife(status, event_at, delivered_at, erased_at, context.max_event_age), newest
    )
    items = item_outcomes(
        exception.item_outcomes if exception else (), attempts, is_delivered=delivered_at is not None
    )
    replays = await event_attempts.replays(
        connection, [*batch.replays, *(exception.replays if exception else ())]
    )
    return EventHistory(
        **asdict(summary),
        destination_id=destination.id,
        match_keys=list(shape.match_keys) if shape else [],
        dropped_match_keys=[
            OmittedMatchKey(match_key=key, reason=reason)
            for key, reason in (shape.dropped_keys if shape else ())
        ],
        warnings=[{"code": code, "field": field} for code, field in shape.warnings] if shape else [],
        attempts=[_attempt(attempt, items.get(attempt.id)) for attempt in attempts],
        attempts_complete=are_all,
        tries=state.tries,
        dead_letter=DEAD_LETTERS.get(summary.reason or "", DeadLetter.SYSTEM)
        if status is Status.DEAD
        else None,
        next_attempt_at=due_at if status in {Status.QUEUED, Status.RETRYING} else None,
        expires_at=None if status in FINAL else state.expires_at,
        delivered_at=delivered_at,
        erased_at=erased_at,
        replays=[EventReplay(replay_id=replay.id, at=replay.at, by=replay.by) for replay in replays],
        duplicate_of=None,
        rejections=[],
        explanation=explain(state) + ("" if shape else _METADATA_DAMAGED),
    )


def _delivered_at(
    batch: event_history.BatchRow, exception: event_history.ExceptionRow | None
) -> datetime | None:
    if exception is not None:
        return exception.delivered_at
    return batch.settled_at if batch.disposition == "sent" else None


def _attempt(attempt: AttemptRecord, item: ItemOutcome | None) -> EventAttempt:
    return EventAttempt(
        id=str(attempt.id),
        started_at=attempt.started_at,
        settled_at=attempt.settled_at,
        outcome=attempt.outcome or "under_way",
        http_status=attempt.http_status,
        duration_ms=attempt.duration_ms,
        item_outcome=item.outcome if item else None,
        item_code=item.code if item else None,
        item_message=item.message if item else None,
        request_id=attempt.request_id,
        message=attempt.message,
        events_in_request=attempt.events,
    )
