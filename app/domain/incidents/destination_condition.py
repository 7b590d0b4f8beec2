"""The condition of a destination, by which the home page counts and sorts. Rules as rows.

`app/store/destination_health.py` generates its SQL from them: 5,000 destinations are counted and sorted in
one statement.
"""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum, auto
from typing import Final


class Condition(StrEnum):
    """The condition of a destination; each has exactly one.

    `stalled`: no incident is open yet, but events wait, and none was delivered for 20 seconds (see the rules
    below). `recovering`: an incident is still open, but its condition no longer holds. `idle`: active, but
    without an event within a day.
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
    """What a rule asks of a destination."""

    ANYTHING = auto()
    ARCHIVED = auto()
    SIGN_IN_LOST = auto()
    CRITICAL = auto()  # the condition of a critical incident holds
    WARNING = auto()  # that of a warning holds, and of no critical one
    PAUSED = auto()
    STALLED = auto()  # active, and its queue delivers nothing
    OPEN_INCIDENT = auto()
    NOT_ACTIVE = auto()
    RECENT_EVENT = auto()  # accepted within IDLE_AFTER


# The first rule whose fact is true decides.
RULES: Final[Sequence[tuple[Fact, Condition]]] = (
    (Fact.ARCHIVED, Condition.DELETED),
    (Fact.SIGN_IN_LOST, Condition.NEEDS_ATTENTION),
    (Fact.CRITICAL, Condition.NEEDS_ATTENTION),
    # Somebody paused it: its warnings are expected.
    (Fact.PAUSED, Condition.PAUSED),
    (Fact.WARNING, Condition.NEEDS_ATTENTION),
    (Fact.STALLED, Condition.STALLED),
    (Fact.OPEN_INCIDENT, Condition.RECOVERING),
    (Fact.NOT_ACTIVE, Condition.SETUP),
    (Fact.RECENT_EVENT, Condition.HEALTHY),
    (Fact.ANYTHING, Condition.IDLE),
)

HOLDS_FOR: Final = timedelta(seconds=12)
"""An incident is updated every few seconds while its condition holds."""
STALLED_AFTER: Final = timedelta(seconds=60)
"""A queue that delivers nothing is stalled from this age on."""
STALLED_WITH_FAILURES_AFTER: Final = timedelta(seconds=15)
"""The same where requests fail. The monitor records what it finds at once when this is passed."""
UNANSWERED_AFTER: Final = timedelta(seconds=15)
"""A request without an answer counts as failing from this age on: half of its time-out."""
