"""The history of one event as the API answers it: where it stands, every attempt, replays, erasure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.refusals import ErrorCode, Refusal
from app.domain.batch import EventMetadata, read_shapes
from app.domain.destination import State
from app.domain.ids import BatchId, MappingId
from app.domain.outcomes.event_history import (
    AttemptRecord,
    EventLife,
    ItemOutcome,
    carrying_attempts,
    item_outcomes,
)
from app.domain.outcomes.explain import EventState, explain, explain_duplicate
from app.domain.outcomes.reasons import DEAD_LETTERS, REASONS, DeadLetter
from app.domain.outcomes.status import FINAL, Status, status_of
from app.store import PipelineConnection, event_attempts, event_history

THROTTLED = "throttled"
# A reason that a batch does not carry itself follows from the destination's.
_PARKED = "sign_in_"
_STATE_MISSING = (
    "The event was accepted, but its delivery state is missing: stored data is damaged. "
    "Ask the operator to run doctor."
)
_METADATA_DAMAGED = (
    " Its stored metadata is damaged: event time, type, match keys and warnings cannot be read."
)

Mappings = Mapping[Any, tuple[MappingId, str]]


@dataclass(frozen=True, slots=True)
class EventLocation:
    """An event id under a mapping, and where its ledger row says that it lies."""

    event_id: str
    mapping_id: str
    batch: BatchId
    place: int


async def history(
    connection: PipelineConnection,
    context: AppContext,
    destination: event_history.DestinationRow,
    asked: EventLocation,
    known: Mappings,
) -> dict[str, Any]:
    """Return the history of an accepted event. Raises Refusal where it was dropped with its age."""
    batches = await event_history.batches(connection, destination.number, asked.batch)
    for batch in batches:
        shape = _shape_at(batch, asked.place)
        # The place counts only where the event's own id stands: batch ids could once be assigned twice.
        if shape is None or shape.event_id != asked.event_id:
            continue
        if known.get(shape.mapping, (None,))[0] == asked.mapping_id:
            return await _describe(connection, context, destination, batch, asked.place, shape, known)
    for batch in batches:
        if read_shapes(batch.shapes) is None:
            described = await _describe(connection, context, destination, batch, asked.place, None, known)
            return {**described, "event_id": asked.event_id, "mapping_id": asked.mapping_id}
    if not batches and await event_history.has_content(connection, asked.batch):
        raise Refusal(ErrorCode.NOT_FOUND, _STATE_MISSING)
    raise _dropped()


async def history_of_duplicate(
    connection: PipelineConnection,
    context: AppContext,
    caller: Caller,
    destination: event_history.DestinationRow,
    asked: EventLocation,
    duplicate: event_attempts.MappedDuplicate,
) -> dict[str, Any]:
    """Return the history of the event whose mapped Amazon eventId made another one its duplicate.

    An event of another destination of the advertiser is named only to those who may see it, and its history
    stays there.
    """
    is_here = duplicate.destination == destination.id
    origin = destination if is_here else await event_history.destination(connection, duplicate.destination)
    if origin is None:
        raise _dropped()
    known = await event_history.mappings(connection, origin.id)
    batches = await event_history.batches(connection, origin.number, duplicate.batch)
    shape = _shape_at(batches[0], duplicate.place) if batches else None
    if shape is None:
        raise _dropped()
    told = await _describe(connection, context, origin, batches[0], duplicate.place, shape, known)
    may_name = is_here or caller.sees(origin.id)
    other_id: str | None = told["event_id"] if may_name else None
    other = {
        "event_id": other_id,
        "destination_id": origin.id if may_name else None,
        "mapping_id": told["mapping_id"] if may_name else None,
        "answered_at": duplicate.answered_at,
    }
    if not is_here:
        told |= {"attempts": [], "replays": [], "execution_id": None}
    return {
        **told,
        "event_id": asked.event_id,
        "destination_id": destination.id,
        "mapping_id": asked.mapping_id,
        "duplicate_of": other,
        "explanation": explain_duplicate(
            other_id, duplicate.answered_at, told["explanation"], is_here=is_here
        ),
    }


def _shape_at(batch: event_history.BatchRow, place: int) -> EventMetadata | None:
    return next((shape for shape in read_shapes(batch.shapes) or () if shape.place == place), None)


def _dropped() -> Refusal:
    return Refusal(ErrorCode.NOT_FOUND, "The event was accepted, but its history was dropped with its age.")


async def _describe(
    connection: PipelineConnection,
    context: AppContext,
    destination: event_history.DestinationRow,
    batch: event_history.BatchRow,
    place: int,
    shape: EventMetadata | None,
    known: Mappings,
) -> dict[str, Any]:
    found = await event_history.exceptions(connection, destination.number, [batch.id])
    exception = found.get((batch.id, place))
    if exception is not None and exception.day != batch.day:
        exception = None
    summary = summary_of(destination, batch, shape, exception, known)
    status = Status(summary["status"])
    erased_at = exception.erased_at if exception else None
    delivered_at = _delivered_at(batch, exception)
    due_at = exception.due_at if exception else batch.due_at
    blocked_until = destination.throttled_until
    if blocked_until is not None:
        due_at = max(due_at, blocked_until)
    event_at = shape.event_at if shape else exception.event_at if exception else batch.first_event
    standing = EventState(
        status=status,
        tries=max(batch.tries, exception.tries if exception else 0),
        reason=summary["reason"],
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
    return {
        **summary,
        "destination_id": destination.id,
        "match_keys": list(shape.match_keys) if shape else [],
        "warnings": [{"code": code, "field": field} for code, field in shape.warnings] if shape else [],
        "attempts": [_attempt(one, items.get(one.id)) for one in attempts],
        "attempts_complete": are_all,
        "tries": standing.tries,
        "dead_letter": DEAD_LETTERS.get(summary["reason"], DeadLetter.SYSTEM)
        if status is Status.DEAD
        else None,
        "next_attempt_at": due_at if status in {Status.QUEUED, Status.RETRYING} else None,
        "expires_at": None if status in FINAL else standing.expires_at,
        "delivered_at": delivered_at,
        "erased_at": erased_at,
        "replays": [{"replay_id": one.id, "at": one.at, "by": one.by} for one in replays],
        "duplicate_of": None,
        "explanation": explain(standing) + ("" if shape else _METADATA_DAMAGED),
    }


def _delivered_at(
    batch: event_history.BatchRow, exception: event_history.ExceptionRow | None
) -> datetime | None:
    if exception is not None:
        return exception.delivered_at
    return batch.settled_at if batch.disposition == "sent" else None


def _attempt(one: AttemptRecord, item: ItemOutcome | None) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "started_at": one.started_at,
        "settled_at": one.settled_at,
        "outcome": one.outcome or "under_way",
        "http_status": one.http_status,
        "duration_ms": one.duration_ms,
        "item_outcome": item.outcome if item else None,
        "item_code": item.code if item else None,
        "item_message": item.message if item else None,
        "request_id": one.request_id,
        "message": one.message,
        "events_in_request": one.events,
    }


def status_and_reason(
    destination: event_history.DestinationRow,
    batch: event_history.BatchRow,
    exception: event_history.ExceptionRow | None,
) -> tuple[Status, str | None]:
    """Return the status and reason of an event of a batch, by its own row where it has one."""
    status = status_of(
        disposition=batch.disposition,
        tries=batch.tries,
        exception=exception.status if exception else None,
        state=State(destination.state),
    )
    reason = exception.reason if exception else batch.reason
    if status is Status.PARKED and destination.sign_in_reason:
        is_of_sign_in = destination.sign_in_reason != "endpoint_not_found"
        reason = _PARKED * is_of_sign_in + destination.sign_in_reason
    if status is Status.DELIVERED:
        reason = None
    if status is Status.QUEUED and batch.tries == 0:
        reason = THROTTLED if destination.throttled_until is not None else None
    return status, reason


def summary_of(
    destination: event_history.DestinationRow,
    batch: event_history.BatchRow,
    shape: EventMetadata | None,
    exception: event_history.ExceptionRow | None,
    known: Mappings,
) -> dict[str, Any]:
    """Return what a list says of one event."""
    status, reason = status_and_reason(destination, batch, exception)
    mapping = known.get(shape.mapping) if shape else None
    return {
        "event_id": shape.event_id if shape else None,
        "status": status.value,
        "code": REASONS[reason].code if reason is not None and reason in REASONS else None,
        "reason": reason,
        "accepted_at": batch.accepted_at,
        "event_time": shape.event_at if shape else None,
        "event_type": shape.event_type if shape else None,
        "execution_id": shape.execution_id if shape else None,
        "mapping_id": mapping[0] if mapping else None,
        "mapping_version": shape.mapping_version if shape else None,
        "amazon_code": exception.amazon_code if exception else None,
        "amazon_message": exception.amazon_message if exception else None,
    }
