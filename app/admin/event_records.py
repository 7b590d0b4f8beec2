"""The parts of an event's history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.admin.event_list import ListedEvent
from app.domain.ids import BatchId
from app.domain.outcomes.reasons import DeadLetter, JourneyCode
from app.domain.outcomes.status import Status


@dataclass(frozen=True, slots=True)
class EventLocation:
    """An event id under a mapping, and its batch and place from the ledger."""

    event_id: str
    mapping_id: str
    batch: BatchId
    place: int


@dataclass(frozen=True, slots=True)
class EventAttempt:
    """A request to Amazon that carried the event."""

    id: str
    started_at: datetime
    settled_at: datetime | None
    outcome: str
    http_status: int | None
    duration_ms: int | None
    item_outcome: str | None
    item_code: str | None
    item_message: str | None
    request_id: str | None
    message: str | None
    events_in_request: int


@dataclass(frozen=True, slots=True)
class EventReplay:
    """A replay that requeued the event."""

    replay_id: str
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class FirstEvent:
    """The event that first used a mapped Amazon eventId. The ids are None if the caller may not see them."""

    event_id: str | None
    destination_id: str | None
    mapping_id: str | None
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class OmittedMatchKey:
    """A match key that was left out of an event."""

    match_key: str
    reason: str


@dataclass(frozen=True, slots=True)
class RecordedRejection:
    """A rejection on receipt that was recorded under the event's id."""

    received_at: datetime
    code: JourneyCode
    reason: str
    field: str | None
    mapping_field: str | None
    detail: str
    request_id: str | None
    mapping_id: str | None
    execution_id: str | None
    journey_id: str | None
    node_id: str | None


@dataclass(frozen=True, slots=True)
class EventHistory(ListedEvent):
    """The complete history of an event. A rejected event has `rejections` and no attempts."""

    status: Status | Literal["rejected"]  # type: ignore[assignment]
    accepted_at: datetime | None  # type: ignore[assignment]
    rejections: Sequence[RecordedRejection]
    destination_id: str
    match_keys: Sequence[str]
    dropped_match_keys: Sequence[OmittedMatchKey]
    warnings: Sequence[dict[str, str | None]]
    attempts: Sequence[EventAttempt]
    attempts_complete: bool
    tries: int
    dead_letter: DeadLetter | None
    next_attempt_at: datetime | None
    expires_at: datetime | None
    delivered_at: datetime | None
    erased_at: datetime | None
    replays: Sequence[EventReplay]
    duplicate_of: FirstEvent | None
    explanation: str
