"""Select the requests to Amazon that contained an event, and Amazon's results for the event."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.outcomes.explain import EventState
from app.domain.outcomes.status import Status

ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """A stored request to Amazon. It contained single events if `is_retry`, else complete batches."""

    id: int
    started_at: datetime
    settled_at: datetime | None
    outcome: str | None
    http_status: int | None
    request_id: str | None
    message: str | None
    duration_ms: int | None
    events: int
    is_retry: bool


@dataclass(frozen=True, slots=True)
class EventReplay:
    """A replay that requeued the event."""

    replay_id: str
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """Amazon's result for one event of an attempt. `outcome` is `accepted`, or a key of `REASONS`."""

    outcome: str
    code: str | None
    message: str | None


def carrying_attempts(state: EventState, attempts: Sequence[AttemptRecord]) -> list[AttemptRecord]:
    """Return the attempts that contained the event. `attempts` has attempts of its batch and its own retries.

    An event is left out of an attempt after it was delivered or erased, or when it has passed the age limit.
    """
    erased_at = state.erased_at if state.status is Status.ERASED else None
    last_sent_at = min(filter(None, (state.expires_at, erased_at, state.delivered_at)))
    return [attempt for attempt in attempts if attempt.is_retry or attempt.started_at <= last_sent_at]


def item_outcomes(
    stored: Sequence[str], attempts: Sequence[AttemptRecord], *, is_delivered: bool
) -> Mapping[int, ItemOutcome]:
    """Return Amazon's results for an event by attempt id.

    `stored` has the results of failed attempts, as JSON. The result `accepted` is not stored: a delivered
    event was accepted in the last attempt that Amazon answered.
    """
    outcomes = {}
    for text in stored:
        item: dict[str, Any] = json.loads(text)
        outcomes[int(item["attempt"])] = ItemOutcome(item["outcome"], item["code"], item["message"])
    answered = [attempt.id for attempt in attempts if attempt.outcome == "answered"]
    if is_delivered and answered and answered[-1] not in outcomes:
        outcomes[answered[-1]] = ItemOutcome(ACCEPTED, None, None)
    return outcomes
