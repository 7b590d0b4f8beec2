"""The parts of an event's history. The API returns these values as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from app.admin.events.summary import EventSummary
from app.domain.ids import BatchId
from app.domain.outcomes.event_history import EventReplay
from app.domain.outcomes.outcome import OUTCOMES
from app.domain.outcomes.reasons import WarningView
from app.store.events.rejections import RejectionRecord


@dataclass(frozen=True, slots=True)
class EventLocation:
    """The position of an event according to the ledger: its batch, and its place in the batch."""

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
    outcome: Annotated[str, Field(json_schema_extra={"enum": [*OUTCOMES.values(), "under_way"]})]
    http_status: int | None
    duration_ms: int | None
    item_outcome: Annotated[
        str | None,
        Field(description="Amazon's answer for this event: `accepted`, or a reason. Null if it gave none."),
    ]
    item_code: Annotated[str | None, Field(description="Amazon's code for this event.")]
    item_message: Annotated[
        str | None,
        Field(description="Amazon's message without personal data, or `missing_index` or `contradictory`."),
    ]
    request_id: Annotated[str | None, Field(description="Amazon's request id.")]
    message: Annotated[
        str | None, Field(description="Amazon's message for the request, or why there is none.")
    ]
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

    rejections: Annotated[
        Sequence[RejectionRecord], Field(description="Recorded earlier rejections of this id, newest first.")
    ] = ()
    match_keys: Sequence[str] = ()
    dropped_match_keys: Annotated[
        Sequence[OmittedMatchKey],
        Field(description="Match keys that were left out, and why (docs/identity.md)."),
    ] = ()
    warnings: Sequence[WarningView] = ()
    attempts: Annotated[
        Sequence[EventAttempt], Field(description="Every request that carried the event.")
    ] = ()
    attempts_complete: Annotated[
        bool,
        Field(
            description="False if only the newest thousand are listed, or if the event is a duplicate of "
            "another destination's event, whose attempts are not listed."
        ),
    ] = True
    tries: Annotated[int, Field(description="Failed attempts; 429, 401 and 403 do not count.")] = 0
    next_attempt_at: datetime | None = None
    expires_at: datetime | None = None
    delivered_at: Annotated[datetime | None, Field(description="Stays after an erasure.")] = None
    erased_at: datetime | None = None
    replays: Sequence[EventReplay] = ()
    duplicate_of: Annotated[
        FirstEvent | None,
        Field(
            description="The event that first used the same mapped Amazon eventId; all other members "
            "describe that event. Its ids are null if this key may not see its destination."
        ),
    ] = None
    explanation: Annotated[str, Field(description="What happened and what to do.")]
