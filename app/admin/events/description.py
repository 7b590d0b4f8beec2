"""Describe one event from its rows: status, attempts, deadline, replays and explanation. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from app.admin.copies import copied
from app.admin.events.summary import (
    EventAttempt,
    EventHistory,
    EventLocation,
    FirstEvent,
    OmittedMatchKey,
    accepted_summary,
    rejected_summary,
)
from app.domain.batch import EventMetadata
from app.domain.event import JOURNEY_IDS
from app.domain.outcomes.event_history import (
    AttemptRecord,
    EventReplay,
    ItemOutcome,
    carrying_attempts,
    item_outcomes,
)
from app.domain.outcomes.explain import EventState, explain, explain_duplicate
from app.domain.outcomes.reasons import REASONS
from app.domain.outcomes.status import FINAL, Status
from app.store.events.batches import BatchRow, DestinationRef, ExceptionRow, Mappings
from app.store.events.rejections import RejectionRecord

_METADATA_DAMAGED = (
    " Its stored metadata is damaged: event time, type, match keys and warnings cannot be read."
)


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
    attempts: Sequence[AttemptRecord]
    has_all_attempts: bool
    replays: Sequence[EventReplay]


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
    state = EventState(
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
    attempts = carrying_attempts(state, rows.attempts)
    items = item_outcomes(
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
        explanation=explain(state) + ("" if shape else _METADATA_DAMAGED),
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
        explanation=explain_duplicate(original_id, answered_at, original.explanation, is_here=is_here),
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


def _attempt(id_: str, attempt: AttemptRecord, item: ItemOutcome | None) -> EventAttempt:
    return copied(
        EventAttempt,
        attempt,
        id=id_,
        outcome=attempt.outcome or "under_way",
        item_outcome=item.outcome if item else None,
        item_code=item.code if item else None,
        item_message=item.message if item else None,
        events_in_request=attempt.events,
    )
