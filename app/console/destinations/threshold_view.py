"""The form for the thresholds of incidents: the condition, default and typed value of each kind. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

from app.domain.incidents.kinds import KINDS, Kind
from app.domain.incidents.thresholds import DEFAULTS, RANGES, Alerting, Threshold

# Label and unit of each member.
_MEMBERS: Final[Mapping[str, tuple[str, str]]] = {
    "share": ("Share", "%"),
    "min_requests": ("At least", "requests"),
    "min_events": ("At least", "events"),
    "window_seconds": ("Within", "s"),
    "breaker_seconds": ("Or circuit breaker open for", "s"),
    "minutes": ("Longer than", "min"),
    "hours": ("Less than", "h left"),
}


@dataclass(frozen=True, slots=True)
class ThresholdInput:
    """One number of a threshold. Shares are typed in percent."""

    name: str
    label: str
    unit: str
    value: str
    default: str
    lowest: str
    highest: str


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """The row of the form for one kind of incident."""

    kind: str
    title: str
    opens_when: str
    enabled: bool
    inputs: Sequence[ThresholdInput]


def threshold_rows(alerting: Alerting, typed: Mapping[str, str] | None = None) -> list[ThresholdRow]:
    """Return one row for each kind that a destination can set."""
    return [_row(kind, alerting.of(kind), typed) for kind in DEFAULTS]


def _row(kind: Kind, threshold: Threshold, typed: Mapping[str, str] | None) -> ThresholdRow:
    inputs = []
    for name, (label, unit) in _MEMBERS.items():
        if not hasattr(threshold, name):
            continue
        key, factor = f"{kind}.{name}", 100 if name == "share" else 1
        low, high = (f"{bound * factor:g}" for bound in RANGES[name])
        default = f"{getattr(DEFAULTS[kind], name) * factor:g}"
        value = f"{getattr(threshold, name) * factor:g}" if typed is None else typed.get(key, "")
        inputs.append(ThresholdInput(key, label, unit, value, default, low, high))
    enabled = threshold.enabled if typed is None else f"{kind}.enabled" in typed
    return ThresholdRow(kind, KINDS[kind].title, KINDS[kind].opens_when, enabled, inputs)


def alerting_of_form(typed: Mapping[str, str]) -> dict[str, dict[str, float | str | None]]:
    """Return the typed thresholds as the API's `alerting`. A number that equals its default becomes null."""
    body: dict[str, dict[str, float | str | None]] = {}
    for kind, default in DEFAULTS.items():
        members: dict[str, float | str | None] = {
            "enabled": None if f"{kind.value}.enabled" in typed else False
        }
        for member in fields(default):
            if member.name == "enabled":
                continue
            given = _number(typed.get(f"{kind.value}.{member.name}", "").strip())
            if member.name == "share" and isinstance(given, float):
                given = round(given / 100, 6)
            members[member.name] = None if given == getattr(default, member.name) else given
        body[kind.value] = members
    return body


def _number(text: str) -> float | str | None:
    # A text that is not a number stays a string, and the model refuses it.
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return text
