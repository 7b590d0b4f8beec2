"""An event in a list, and the history of one event: the API returns these values as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from app.domain.batch import EventMetadata
from app.domain.destination import State
from app.domain.event import JOURNEY_IDS
from app.domain.ids import MappingId, MappingNumber
from app.domain.outcomes.event_history import EventReplay
from app.domain.outcomes.outcome import OUTCOMES
from app.domain.outcomes.reasons import REASONS, JourneyCode, WarningView
from app.domain.outcomes.status import Status, status_of
from app.store.events.batches import BatchRow, DestinationRef, ExceptionRow, Mappings
from app.store.events.rejections import RejectionRecord

REJECTED: Final = "rejected"
THROTTLED: Final = "throttled"
_SIGN_IN_PREFIX: Final = "sign_in_"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSummary:
    """An accepted or rejected event. An export has a column for each member.

    A member is null if the event has no such value, or if the stored metadata of the event is damaged.
    """

    __pydantic_config__ = ConfigDict(
        json_schema_serialization_defaults_required=True, use_attribute_docstrings=True
    )

    destination_id: str
    destination_name: str
    received_at: Annotated[datetime, Field(description="When it was accepted or rejected.")]
    accepted_at: Annotated[datetime | None, Field(description="Null for a rejected event.")] = None
    event_id: str | None = None
    status: Status | Literal["rejected"]
    code: JourneyCode | None = None
    reason: str | None = None
    event_type: str | None = None
    event_time: datetime | None = None
    mapping_id: str | None = None
    mapping_version: int | None = None
    execution_id: str | None = None
    journey_id: str | None = None
    node_id: str | None = None
    amazon_code: str | None = None
    amazon_message: str | None = None
    field: Annotated[
        str | None, Field(description="For a rejected event: the source path in the mapping.")
    ] = None
    detail: Annotated[str | None, Field(description="For a rejected event: the reason as a sentence.")] = None
    request_id: Annotated[
        str | None, Field(description="The `X-Request-Id` of the post that contained it.")
    ] = None
    dismissed_at: Annotated[
        datetime | None, Field(description="When a person marked the dead letter as handled.")
    ] = None
    dismissed_by: str | None = None


@dataclass(frozen=True, slots=True)
class EventAttempt:
    """A request to Amazon that carried the event."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    id: str
    started_at: datetime
    settled_at: datetime | None
    outcome: Annotated[str, Field(json_schema_extra={"enum": [*OUTCOMES.values(), "under_way"]})]
    http_status: int | None
    duration_ms: int | None
    item_outcome: str | None
    """Amazon's answer for this event: `accepted`, or a reason. Null if it gave none."""
    item_code: str | None
    """Amazon's code for this event."""
    item_message: str | None
    """Amazon's message without personal data, or `missing_index` or `contradictory`."""
    request_id: str | None
    """Amazon's request id."""
    message: str | None
    """Amazon's message for the request, or why there is none."""
    events_in_request: int


@dataclass(frozen=True, slots=True)
class FirstEvent:
    """The event that first used a mapped Amazon eventId."""

    event_id: str | None
    destination_id: str | None
    mapping_id: str | None
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class OmittedMatchKey:
    """A match key that was left out of an event."""

    match_key: Annotated[str, Field(examples=["PHONE"])]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHistory(EventSummary):
    """The complete history of an event. A rejected event has `rejections` and no attempts."""

    rejections: Sequence[RejectionRecord] = ()
    """Recorded earlier rejections of this id, newest first."""
    match_keys: Sequence[str] = ()
    dropped_match_keys: Sequence[OmittedMatchKey] = ()
    """Match keys that were left out, and why (docs/identity.md)."""
    warnings: Sequence[WarningView] = ()
    attempts: Sequence[EventAttempt] = ()
    """Every request that carried the event."""
    attempts_complete: Annotated[
        bool,
        Field(
            description="False if only the newest thousand are listed, or if the event is a duplicate of "
            "another destination's event, whose attempts are not listed."
        ),
    ] = True
    tries: int = 0
    """Failed attempts; 429, 401 and 403 do not count."""
    next_attempt_at: datetime | None = None
    expires_at: datetime | None = None
    delivered_at: datetime | None = None
    """Stays after an erasure."""
    erased_at: datetime | None = None
    replays: Sequence[EventReplay] = ()
    duplicate_of: Annotated[
        FirstEvent | None,
        Field(
            description="The event that first used the same mapped Amazon eventId; all other members "
            "describe that event. Its ids are null if this key may not see its destination."
        ),
    ] = None
    explanation: str
    """What happened and what to do."""


def accepted_summary(
    destination: DestinationRef,
    batch: BatchRow,
    shape: EventMetadata | None,
    exception: ExceptionRow | None,
    mappings: Mappings,
) -> EventSummary:
    """Return the summary of an accepted event. `shape` is None if its metadata is damaged."""
    status, reason = status_and_reason(destination, batch, exception)
    return EventSummary(
        destination_id=destination.id,
        destination_name=destination.name,
        received_at=batch.accepted_at,
        accepted_at=batch.accepted_at,
        status=status,
        code=REASONS[reason].code if reason is not None and reason in REASONS else None,
        reason=reason,
        event_time=shape.event_at if shape else None,
        mapping_id=mapping_of(shape, mappings) if shape else None,
        **{name: getattr(shape, name) for name in _OF_SHAPE if shape},
        **{name: getattr(exception, name) for name in _OF_EXCEPTION if exception},
    )


# The members of a summary that are members of the event's metadata, of its exception, and of a rejection.
_OF_SHAPE: Final = ("event_id", "event_type", "mapping_version", "request_id", *JOURNEY_IDS)
_OF_EXCEPTION: Final = ("amazon_code", "amazon_message", "dismissed_at", "dismissed_by")
_OF_RECORD: Final = (
    "received_at", "event_id", "code", "reason", "mapping_id", "field", "detail", "request_id", *JOURNEY_IDS
)  # fmt: skip


def rejected_summary(destination: DestinationRef, record: RejectionRecord) -> EventSummary:
    """Return the summary of a rejected event."""
    return EventSummary(
        destination_id=destination.id,
        destination_name=destination.name,
        status=REJECTED,
        **{name: getattr(record, name) for name in _OF_RECORD},
    )


def mapping_of(shape: EventMetadata, mappings: Mappings) -> MappingId | None:
    """Return the id of the mapping of an event."""
    found = mappings.get(MappingNumber(shape.mapping))
    return found.id if found else None


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
