"""The health of a destination in one word for the API, and its condition on the home page.

`app/store/destinations/health.py` generates SQL from the rules for the condition, so that one statement
counts and sorts 5,000 destinations.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Final

from app.domain.destination import State
from app.domain.incidents.kinds import Severity

IDLE_AFTER: Final = timedelta(days=1)


class Health(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    FAILING = "failing"
    PAUSED = "paused"
    NEEDS_RECONNECT = "needs_reconnect"
    IDLE = "idle"


def health_of(
    state: State,
    sign_in_reason: str | None,
    open_severities: Collection[Severity],
    last_event_at: datetime | None,
    now: datetime,
) -> Health:
    """Return the health of a destination. It received its last event at `last_event_at`."""
    if state is State.PAUSED:
        return Health.PAUSED
    if state is State.NEEDS_RECONNECT:
        # To reconnect does not help if Amazon does not know the endpoint or the advertiser account.
        return Health.FAILING if sign_in_reason == "endpoint_not_found" else Health.NEEDS_RECONNECT
    if Severity.CRITICAL in open_severities:
        return Health.FAILING
    if Severity.WARNING in open_severities:
        return Health.DEGRADED
    if last_event_at is None or now - last_event_at > IDLE_AFTER or state is not State.ACTIVE:
        return Health.IDLE
    return Health.HEALTHY


class Condition(StrEnum):
    """The condition of a destination. Each destination has exactly one.

    `stalled` means that events wait and none is delivered, but no incident is open yet. `recovering` means
    that an incident is still open, but its cause is gone. `idle` means that the destination is active, but
    received no event within a day.
    """

    NEEDS_ATTENTION = "needs_attention"
    STALLED = "stalled"
    RECOVERING = "recovering"
    PAUSED = "paused"
    HEALTHY = "healthy"
    IDLE = "idle"
    SETUP = "setup"
    DELETED = "deleted"


class Fact(StrEnum):
    """A property of a destination that a rule tests."""

    ANYTHING = auto()
    ARCHIVED = auto()
    SIGN_IN_LOST = auto()
    CRITICAL = auto()  # a critical incident is open, and its cause persists
    WARNING = auto()  # an incident of severity warning is open, its cause persists, and CRITICAL is false
    PAUSED = auto()
    STALLED = auto()  # active, and its queue delivers nothing
    OPEN_INCIDENT = auto()
    NOT_ACTIVE = auto()
    RECENT_EVENT = auto()  # accepted within IDLE_AFTER


# The first rule whose fact is true determines the condition.
RULES: Final[Sequence[tuple[Fact, Condition]]] = (
    (Fact.ARCHIVED, Condition.DELETED),
    (Fact.SIGN_IN_LOST, Condition.NEEDS_ATTENTION),
    (Fact.CRITICAL, Condition.NEEDS_ATTENTION),
    # Before WARNING: an operator who pauses a destination expects its warnings.
    (Fact.PAUSED, Condition.PAUSED),
    (Fact.WARNING, Condition.NEEDS_ATTENTION),
    (Fact.STALLED, Condition.STALLED),
    (Fact.OPEN_INCIDENT, Condition.RECOVERING),
    (Fact.NOT_ACTIVE, Condition.SETUP),
    (Fact.RECENT_EVENT, Condition.HEALTHY),
    (Fact.ANYTHING, Condition.IDLE),
)

HOLDS_FOR: Final = timedelta(seconds=12)
"""The cause of an incident persists if the incident was updated within this time."""
STALLED_AFTER: Final = timedelta(seconds=60)
"""A destination without deliveries is stalled if its oldest waiting event is older than this."""
STALLED_WITH_FAILURES_AFTER: Final = timedelta(seconds=15)
"""Replaces STALLED_AFTER if requests fail."""
UNANSWERED_AFTER: Final = timedelta(seconds=15)
"""A request without a response counts as failed after this time, which is half of its timeout."""
