"""What the history of one event says of its attempts and replays. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.domain.outcomes.status import Status

ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One request to Amazon as its row holds it; a retry carries single events, all others whole batches."""

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
    """One replay: who asked for it, and when."""

    id: str
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What one attempt's answer said of one event: `accepted`, or the reason that followed from it."""

    outcome: str
    code: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class EventLife:
    """The facts of an event that decide which attempts of its batch carried it."""

    status: Status
    event_at: datetime
    delivered_at: datetime | None
    erased_at: datetime | None
    max_age: timedelta


def carrying_attempts(life: EventLife, attempts: Sequence[AttemptRecord]) -> list[AttemptRecord]:
    """Return those attempts of an event's batch, or of the event, that carried the event itself.

    A batch travels without what was erased while it waited, and without what had passed the age limit.
    Nothing carries an event after its delivery.
    """
    left_at = life.event_at + life.max_age
    if life.status is Status.ERASED and life.erased_at is not None:
        left_at = min(left_at, life.erased_at)
    if life.delivered_at is not None:
        left_at = min(left_at, life.delivered_at)
    return [one for one in attempts if one.is_retry or one.started_at <= left_at]


def item_outcomes(
    stored: Sequence[str], attempts: Sequence[AttemptRecord], *, is_delivered: bool
) -> Mapping[int, ItemOutcome]:
    """Return what Amazon answered for an event, by attempt.

    `stored` are the JSON objects of the event's row. An acceptance is stored nowhere: it is the last answered
    attempt of a delivered event.
    """
    found = {}
    for text in stored:
        one: dict[str, Any] = json.loads(text)
        found[int(one["attempt"])] = ItemOutcome(one["outcome"], one["code"], one["message"])
    answered = [one.id for one in attempts if one.outcome == "answered"]
    if is_delivered and answered and answered[-1] not in found:
        found[answered[-1]] = ItemOutcome(ACCEPTED, None, None)
    return found
