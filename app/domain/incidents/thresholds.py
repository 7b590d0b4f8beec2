"""The thresholds of incidents: defaults, and the settings of a destination. Source: interface §11."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from app.domain.incidents.kinds import KINDS, Kind


@dataclass(frozen=True, slots=True)
class Threshold:
    """The threshold of a kind of incident. A kind has the members that are not 0 in its row of `DEFAULTS`.

    `share` is that of requests that failed or of events that were rejected within `window_seconds`, or of the
    usual number of events in an hour, which is the median of the same hour on other days. With fewer requests
    or events than `min_requests` or `min_events`, a share means little. `breaker_seconds` is the time for
    which the circuit breaker is open, `minutes` the age of the oldest waiting event, and `hours` the time
    until an event expires.
    """

    enabled: bool = True
    share: float = 0.0
    min_requests: int = 0
    min_events: int = 0
    window_seconds: float = 0.0
    breaker_seconds: float = 0.0
    minutes: float = 0.0
    hours: float = 0.0

    @property
    def members(self) -> dict[str, bool | float]:
        """The members that the kind has, by name."""
        return {name: value for name, value in asdict(self).items() if name == "enabled" or value}


DEFAULTS: Final[Mapping[Kind, Threshold]] = {
    Kind.SIGN_IN_LOST: Threshold(),
    Kind.AMAZON_FORBIDDEN: Threshold(),
    Kind.FAILING: Threshold(share=0.5, min_requests=10, window_seconds=60.0, breaker_seconds=10.0),
    Kind.THROTTLED: Threshold(minutes=5.0),
    Kind.BACKLOG: Threshold(minutes=15.0),
    Kind.EXPIRING: Threshold(hours=24.0),
    Kind.DEAD_LETTERS: Threshold(min_events=1),
    Kind.REJECTIONS: Threshold(share=0.2, min_events=50, window_seconds=300.0),
    Kind.VOLUME_DROP: Threshold(share=0.1, min_events=10),
    Kind.VALUE_SUSPECT: Threshold(),
    Kind.SCHEMA_DRIFT: Threshold(),
}
"""The default threshold of each kind of incident that a destination can have."""

assert DEFAULTS.keys() == {kind for kind, spec in KINDS.items() if not spec.of_service}

# The lowest and highest value of each member of a threshold.
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "share": (0.001, 1.0),
    "min_requests": (1, 100_000),
    "min_events": (1, 10_000),
    "window_seconds": (10, 3_600),
    "breaker_seconds": (1, 3_600),
    "minutes": (0.01, 30_240),
    "hours": (0.01, 504),
}
MUTED_UNTIL: Final = "muted_until"


@dataclass(frozen=True, slots=True)
class Alerting:
    """The alert settings of a destination. Its incidents send no message before `muted_until`."""

    thresholds: Mapping[Kind, Threshold]
    muted_until: datetime | None = None

    def view(self) -> dict[str, Any]:
        """Return every threshold, including defaults, as the API shows it."""
        shown = {kind.value: threshold.members for kind, threshold in self.thresholds.items()}
        return {**shown, MUTED_UNTIL: self.muted_until}


_UNCHANGED: Final = Alerting(DEFAULTS)  # shared by all destinations without settings of their own


def merged(stored: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a change into stored settings, also within each threshold. A null restores the default."""
    result = dict(stored)
    for name, value in change.items():
        result[name] = merged(stored.get(name, {}), value) if isinstance(value, Mapping) else value
    return {name: value for name, value in result.items() if value is not None and value != {}}


def maintenance(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the maintenance window of stored settings, without the thresholds."""
    return {name: value for name, value in stored.items() if name == MUTED_UNTIL}


def read(stored: Mapping[str, Any] | None) -> Alerting:
    """Return the alert settings of a destination: its stored settings, and defaults for all others."""
    if not stored:
        return _UNCHANGED
    thresholds = {kind: replace(default, **stored.get(kind, {})) for kind, default in DEFAULTS.items()}
    until = stored.get(MUTED_UNTIL)
    return Alerting(thresholds, datetime.fromisoformat(until) if isinstance(until, str) else until)
