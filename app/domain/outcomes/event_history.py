"""Select the attempts that carried one event, and Amazon's answers for it. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.domain.outcomes.status import Status

ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One stored request to Amazon. A retry (`is_retry`) carries single events, others complete batches."""

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
class ReplayRecord:
    """One replay: its id, time and actor."""

    id: str
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """Amazon's answer for one event in one attempt: `accepted`, or the reason derived from the answer."""

    outcome: str
    code: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class EventLife:
    """The facts of an event that determine which attempts of its batch carried it."""

    status: Status
    event_at: datetime
    delivered_at: datetime | None
    erased_at: datetime | None
    max_age: timedelta


def carrying_attempts(life: EventLife, attempts: Sequence[AttemptRecord]) -> list[AttemptRecord]:
    """Return the attempts (of the event's batch or its own retries) that carried the event.

    A request leaves out events that were erased or had passed the age limit. A delivered event is not sent
    again.
    """
    last_sent_at = life.event_at + life.max_age
    if life.status is Status.ERASED and life.erased_at is not None:
        last_sent_at = min(last_sent_at, life.erased_at)
    if life.delivered_at is not None:
        last_sent_at = min(last_sent_at, life.delivered_at)
    return [attempt for attempt in attempts if attempt.is_retry or attempt.started_at <= last_sent_at]


def item_outcomes(
    stored: Sequence[str], attempts: Sequence[AttemptRecord], *, is_delivered: bool
) -> Mapping[int, ItemOutcome]:
    """Return Amazon's answers for an event by attempt id.

    `stored` are the JSON objects of the event's row. An acceptance is not stored: it belongs to the last
    answered attempt of a delivered event.
    """
    outcomes = {}
    for text in stored:
        item: dict[str, Any] = json.loads(text)
        outcomes[int(item["attempt"])] = ItemOutcome(item["outcome"], item["code"], item["message"])
    answered = [attempt.id for attempt in attempts if attempt.outcome == "answered"]
    if is_delivered and answered and answered[-1] not in outcomes:
        outcomes[answered[-1]] = ItemOutcome(ACCEPTED, None, None)
    return outcomes
