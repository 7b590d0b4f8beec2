"""The rules for the condition of a destination, by which the home page counts and sorts destinations.

`app/store/destinations/health.py` generates SQL from the rules, so that one statement counts and sorts 5,000
destinations.
"""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum, auto
from typing import Final


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
