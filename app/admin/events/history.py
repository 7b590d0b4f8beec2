"""Use case: read the history of one event from the ledger, its batch and the recorded rejections.

Pure functions describe the event from its rows: status, attempts, deadline, replays and explanation.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from app.admin import ErrorCode, Refusal, copy_as, require_found
from app.admin.context import AppContext
from app.admin.destinations import find_visible_row
from app.admin.events.summary import (
    EventAttempt,
    EventHistory,
    FirstEvent,
    OmittedMatchKey,
    accepted_summary,
    mapping_of,
    rejected_summary,
)
from app.domain.batch import EventMetadata, read_shapes
from app.domain.event import JOURNEY_IDS, event_key
from app.domain.event_query import EventQuery
from app.domain.ids import BatchId
from app.domain.outcomes import event_history
from app.domain.outcomes.reasons import REASONS
from app.domain.outcomes.status import FINAL, Status
from app.store import PipelineConnection, ledger
from app.store.events import attempts, batches, rejections
from app.store.events.batches import BatchRow, DestinationRef, ExceptionRow, Mappings
from app.store.events.rejections import RejectionRecord

ATTEMPT: Final = "att"  # the kind of the ids of attempts
_MOST_REJECTIONS = 50  # of one event

_DROPPED = "The event was accepted, but its history was deleted after the retention period."
_STATE_MISSING = (
    "The event was accepted, but its delivery state is missing: stored data is damaged. "
    "Ask the operator to run doctor."
)
_METADATA_DAMAGED = (
    " Its stored metadata is damaged: event time, type, match keys and warnings cannot be read."
)


@dataclass(frozen=True, slots=True)
class EventLocation:
    """The position of an event according to the ledger: its batch, and its place in the batch."""

    destination: DestinationRef
    event_id: str
    mapping_id: str
    batch: BatchId
    place: int


async def read_event_history(
    context: AppContext, destination_id: str, event_id: str, mapping_id: str | None
) -> EventHistory:
    """Return the history of an event. Raises Refusal: 404, or 409 if several mappings accepted this id."""
    await context.intake.recorder.write()
    async with context.snapshot() as connection:
        destination = await find_visible_row(connection, context.caller, destination_id)
        mappings = await batches.mappings(connection, [destination.id])
        keys = {
            event_key(destination.id, mapping.id, event_id): mapping.id
            for mapping in mappings.values()
            if mapping_id in (None, mapping.id)
        }
        rows: dict[bytes, ledger.LedgerRow | attempts.MappedDuplicate] = {}
        rows |= await ledger.find(connection, await ledger.current_generation(connection), list(keys))
        if not rows:
            rows |= {row.key: row for row in await attempts.mapped_duplicates(connection, list(keys))}
        wanted = EventQuery(event_id=event_id, mapping_id=mapping_id)
        records = await rejections.newest(connection, [destination.number], wanted, limit=_MOST_REJECTIONS)
        if not rows and records:
            return rejected_history(destination, event_id, mapping_id, records)
        if not rows:
            raise Refusal(ErrorCode.NOT_FOUND, "This destination accepted no event with this id.")
        if len(rows) > 1:
            raise Refusal(ErrorCode.EVENT_AMBIGUOUS, None, mapping_ids=sorted(keys[key] for key in rows))
        ((key, row),) = rows.items()
        location = EventLocation(destination, event_id, keys[key], row.batch, row.place)
        reader = _Reader(connection, context, destination, mappings)
        if isinstance(row, attempts.MappedDuplicate):
            return await reader.duplicate(location, row)
        return replace(await reader.accepted(location), rejections=records)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the histories of a destination's events in one snapshot."""

    connection: PipelineConnection
    context: AppContext
    destination: DestinationRef
    mappings: Mappings

    async def accepted(self, location: EventLocation) -> EventHistory:
        """Return the history of an accepted event. Raises Refusal (404) if its partition was dropped."""
        found = await batches.batches(self.connection, self.destination.number, [location.batch])
        for batch in found:
            shape = _shape_at(batch, location.place)
            # Compare the event id too: a batch id could be assigned twice on different days.
            if shape is None or shape.event_id != location.event_id:
                continue
            if mapping_of(shape, self.mappings) == location.mapping_id:
                return await self._describe(batch, location.place, shape)
        for batch in found:
            if read_shapes(batch.shapes) is None:
                described = await self._describe(batch, location.place, None)
                return replace(described, event_id=location.event_id, mapping_id=location.mapping_id)
        if not found and await batches.has_content(self.connection, location.batch):
            raise Refusal(ErrorCode.NOT_FOUND, _STATE_MISSING)
        raise Refusal(ErrorCode.NOT_FOUND, _DROPPED)

    async def duplicate(self, location: EventLocation, duplicate: attempts.MappedDuplicate) -> EventHistory:
        """Return the history of the event whose mapped Amazon event id this duplicate repeated.

        This original event may belong to another destination of the advertiser. The history then lacks the
        original's attempts and replays. It has the original's ids only if the caller may see that
        destination.
        """
        here = self.destination
        is_here = duplicate.destination == here.id
        found = here if is_here else await batches.destination(self.connection, duplicate.destination)
        origin = require_found(found, _DROPPED)
        mappings = await batches.mappings(self.connection, [origin.id])
        stored = await batches.batches(self.connection, origin.number, [duplicate.batch])
        shape = require_found(_shape_at(stored[0], duplicate.place) if stored else None, _DROPPED)
        there = replace(self, destination=origin, mappings=mappings)
        original = await there._describe(stored[0], duplicate.place, shape)
        may_name = is_here or self.context.caller.sees(origin.id)
        return duplicate_history(original, location, duplicate.answered_at, may_name=may_name)

    async def _describe(self, batch: BatchRow, place: int, shape: EventMetadata | None) -> EventHistory:
        found = await batches.exceptions(self.connection, [batch.destination], [batch.id])
        exception = found.get(batch.id, {}).get(place)
        if exception is not None and exception.day != batch.day:
            exception = None  # of another batch: an id could be assigned twice on different days
        carried, has_all_attempts = await attempts.attempts(self.connection, batch, place)
        all_replays = [*batch.replays, *(exception.replays if exception else ())]
        replays = await attempts.replays(self.connection, all_replays)
        rows = EventRows(self.destination, batch, shape, exception, carried, has_all_attempts, replays)
        id_of = partial(self.context.opaque.seal, kind=ATTEMPT)
        return accepted_history(rows, self.mappings, self.context.deployment.max_age, id_of)


def _shape_at(batch: BatchRow, place: int) -> EventMetadata | None:
    return next((shape for shape in read_shapes(batch.shapes) or () if shape.place == place), None)


@dataclass(frozen=True, slots=True)
class EventRows:
    """The rows of one event. `shape` is the event's metadata, None if it is damaged.

    `attempts` are the requests that contained the event, alone or with its complete batch.
    `has_all_attempts` is False if older attempts were left out.
    """

    destination: DestinationRef
    batch: BatchRow
    shape: EventMetadata | None
    exception: ExceptionRow | None
    attempts: Sequence[event_history.AttemptRecord]
    has_all_attempts: bool
    replays: Sequence[event_history.EventReplay]


def accepted_history(
    rows: EventRows, mappings: Mappings, max_age: timedelta, id_of: Callable[[int], str]
) -> EventHistory:
    """Return the history of an accepted event.

    `max_age` is Amazon's age limit. `id_of` returns the public id of an attempt.
    """
    batch, shape, exception = rows.batch, rows.shape, rows.exception
    summary = accepted_summary(rows.destination, batch, shape, exception, mappings)
    status = Status(summary.status)
    erased_at = exception.erased_at if exception else None
    delivered_at = _delivered_at(batch, exception)
    state = event_history.EventState(
        status=status,
        tries=max(batch.tries, exception.tries if exception else 0),
        reason=summary.reason,
        event_at=shape.event_at if shape else exception.event_at if exception else batch.first_event,
        due_at=(due_at := _due_at(rows)),
        finished_at=delivered_at or (exception.changed_at if exception else batch.settled_at),
        amazon_message=exception.amazon_message if exception else None,
        max_age=max_age,
        delivered_at=delivered_at,
        erased_at=erased_at,
        dismissed_at=summary.dismissed_at,
        is_organisation_suspended=rows.destination.suspended,
    )
    attempts = event_history.carrying_attempts(state, rows.attempts)
    items = event_history.item_outcomes(
        exception.item_outcomes if exception else (), attempts, is_delivered=delivered_at is not None
    )
    return EventHistory(
        **asdict(summary),
        match_keys=list(shape.match_keys) if shape else [],
        dropped_match_keys=[
            OmittedMatchKey(match_key=key, reason=reason)
            for key, reason in (shape.dropped_keys if shape else ())
        ],
        warnings=[{"code": code, "field": field} for code, field in shape.warnings] if shape else [],
        attempts=[_attempt(id_of(attempt.id), attempt, items.get(attempt.id)) for attempt in attempts],
        attempts_complete=rows.has_all_attempts,
        tries=state.tries,
        next_attempt_at=due_at if status in {Status.QUEUED, Status.RETRYING} else None,
        expires_at=None if status in FINAL else state.expires_at,
        delivered_at=delivered_at,
        erased_at=erased_at,
        replays=rows.replays,
        explanation=event_history.explain(state) + ("" if shape else _METADATA_DAMAGED),
    )


def duplicate_history(
    original: EventHistory, location: EventLocation, answered_at: datetime, *, may_name: bool
) -> EventHistory:
    """Return the history of an event that was answered as a duplicate of `original`.

    If the original belongs to another destination, its attempts, replays and journey are left out. The ids of
    the original are left out unless `may_name` is set.
    """
    is_here = original.destination_id == location.destination.id
    original_id = original.event_id if may_name else None
    shown = replace(
        original,
        event_id=location.event_id,
        destination_id=location.destination.id,
        destination_name=location.destination.name,
        mapping_id=location.mapping_id,
        duplicate_of=FirstEvent(
            event_id=original_id,
            destination_id=original.destination_id if may_name else None,
            mapping_id=original.mapping_id if may_name else None,
            answered_at=answered_at,
        ),
        explanation=event_history.explain_duplicate(
            original_id, answered_at, original.explanation, is_here=is_here
        ),
    )
    if is_here:
        return shown
    no_journey: dict[str, Any] = dict.fromkeys(JOURNEY_IDS)
    return replace(
        shown,
        attempts=(),
        attempts_complete=False,
        replays=(),
        request_id=None,
        dismissed_by=None,
        **no_journey,
    )


def rejected_history(
    destination: DestinationRef, event_id: str, mapping_id: str | None, rejections: Sequence[RejectionRecord]
) -> EventHistory:
    """Return the history of an event that was rejected and never accepted. `rejections` are newest first."""
    last = rejections[0]
    members = asdict(rejected_summary(destination, last))
    members |= {"event_id": event_id, "mapping_id": mapping_id or last.mapping_id}
    return EventHistory(
        **members,
        rejections=rejections,
        explanation=f"The event was rejected on receipt and not stored. {last.detail} "
        f"{REASONS[last.reason].remedy}",
    )


def _due_at(rows: EventRows) -> datetime:
    """Return the earliest time of the event's next request: the event is due, and its lane may send."""
    due_at = rows.exception.due_at if rows.exception else rows.batch.due_at
    blocked_until = rows.destination.throttled_until
    return due_at if blocked_until is None else max(due_at, blocked_until)


def _delivered_at(batch: BatchRow, exception: ExceptionRow | None) -> datetime | None:
    if exception is not None:
        return exception.delivered_at
    return batch.settled_at if batch.disposition == "sent" else None


def _attempt(
    id_: str, attempt: event_history.AttemptRecord, item: event_history.ItemOutcome | None
) -> EventAttempt:
    return copy_as(
        EventAttempt,
        attempt,
        id=id_,
        outcome=attempt.outcome or "under_way",
        item_outcome=item.outcome if item else None,
        item_code=item.code if item else None,
        item_message=item.message if item else None,
        events_in_request=attempt.events,
    )
