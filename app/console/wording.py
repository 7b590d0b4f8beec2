"""Format numbers, shares, ages, states and statuses for all pages. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.domain.conversion.amazon_codes import EVENT_TYPES
from app.domain.identity.keys import MATCH_KEYS
from app.domain.incidents.health import Condition
from app.domain.incidents.kinds import Severity
from app.domain.mapping.document import FIELDS
from app.domain.outcomes.reasons import POSITION_IN_REQUEST, REASONS
from app.domain.outcomes.status import Status
from app.domain.quantity import quantity
from app.domain.toml_files import read_toml
from app.store.destinations.destinations import Destination
from app.store.destinations.health import ListedDestination


def number(value: float) -> str:
    """Return a number with thousands separators, such as `1,234`; a fraction gets one decimal."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def read_integer(text: str, digits: int) -> int | None:
    """Return the number that a text of at most this many digits is; None for another text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None


def share(part: int, total: int) -> str:
    """Return a part as a percentage. Rounding never gives 0 % or 100 %: only exact values do."""
    if total <= 0:
        return "–"
    if part == 0:
        return "0 %"
    percent = 100 * part / total
    if percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.0f} %" if percent >= 10 or percent.is_integer() else f"{percent:.1f} %"


def change(now: int, before: int) -> str:
    """Return the change of a count since an earlier time: `+12 %`, `−3.5 %`, `unchanged`, `40 times`."""
    if now == before:
        return "unchanged"
    if before and now >= 10 * before:
        return f"{now / before:,.0f} times"
    return f"{'+' if now > before else '−'}{share(abs(now - before), before)}" if before else "none before"


def events(count: int) -> str:
    """Return a count of events: `1 event`, `2,000 events`."""
    return quantity(count, "event")


def failed_requests(count: int) -> str:
    """Return a sentence about the requests that failed since the last success."""
    return "The last request failed." if count == 1 else f"The last {number(count)} requests failed."


_STEPS = ((86_400, "day", "days"), (3_600, "h", "h"), (60, "min", "min"), (1, "s", "s"))


def age(seconds: float | None) -> str:
    """Return a duration in at most two units: `3 h 10 min`."""
    if seconds is None:
        return "–"
    left, parts = int(max(0.0, seconds)), []
    for size, singular, plural in _STEPS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {singular if count == 1 else plural}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def countdown(at: datetime, now: datetime) -> str:
    """Return the time that is left until `at`: `0:23`."""
    minutes, seconds = divmod(max(0, round((at - now).total_seconds())), 60)
    return f"{minutes}:{seconds:02}"


@dataclass(frozen=True, slots=True)
class Label:
    """A label, its tone (`good`, `warn`, `bad`, `quiet`) and its meaning."""

    label: str
    tone: str
    meaning: str


_FILE: Final = read_toml(__file__)


def _labels(table: str) -> Mapping[str, Label]:
    return {key: Label(*texts) for key, texts in _FILE[table].items()}


STATES: Final = _labels("states")


def state_key(item: Destination | ListedDestination) -> str:
    """Return the key of a destination in `STATES`.

    A suspended organisation has its own label, and a destination for which Amazon answers 404.
    """
    if item.state == "needs_reconnect" and item.sign_in_reason == "endpoint_not_found":
        return item.sign_in_reason
    return "suspended" if item.state == "paused" and item.suspended else item.state


_CONDITIONS: Final = _labels("conditions")


def health_label(item: ListedDestination) -> Label:
    """Return the health of a destination as a pill: what its open incidents say, or else its state."""
    if item.condition is Condition.NEEDS_ATTENTION and item.state != "needs_reconnect":
        incidents = f"{quantity(item.open_incidents, 'open incident')}. Each names its remedy."
        is_critical = item.severity is Severity.CRITICAL
        return Label("Failing", "bad", incidents) if is_critical else Label("Degraded", "warn", incidents)
    return _CONDITIONS.get(item.condition) or STATES[state_key(item)]


# The statuses of accepted events, and that of rejected events.
EVENT_STATUSES: Final = _labels("statuses")
STATUSES: Final[Mapping[str, Label]] = {status: EVENT_STATUSES[status] for status in Status}
_OUTCOMES: Final = _labels("outcomes")


def outcome_label(outcome: str) -> Label:
    """Return the label of an attempt's outcome; its name if this release does not know it."""
    return _OUTCOMES.get(outcome) or Label(outcome.replace("_", " "), "quiet", "")


def event_type_label(event_type: str) -> str:
    """Return the label of an event type, or the type itself if it is unknown."""
    return EVENT_TYPES[event_type].label if event_type in EVENT_TYPES else event_type


_PLACES: Final[Mapping[str, str]] = _FILE["places"]
_PARTS: Final[Mapping[str, str]] = _FILE["parts"]
_PART = re.compile(rf"^(.+)\.({'|'.join(_PARTS)})(?:\[(\d+)\])?$")
_ROW = re.compile(r"^custom_data\[(\d+)\](?:\.name)?$")


def place_label(place: str) -> str:
    """Return the form's label of a place in a mapping document."""
    if place in _PLACES:
        return _PLACES[place]
    if part := _PART.match(place):
        number = f" {int(part[3]) + 1}" if part[2] == "first_of" and part[3] else ""
        return f"{place_label(part[1])}, {_PARTS[part[2]]}{number}"
    if row := _ROW.match(place):
        return f"Custom Data Fields, row {int(row[1]) + 1}"
    name = place.removeprefix("fields.")
    if name in FIELDS and name != place:
        return FIELDS[name].label
    if place.startswith("custom_data."):
        return f"Custom data: {place.removeprefix('custom_data.')}"
    return place


def field_label(field: str) -> str:
    """Return the form's label of a conversion field, where `email` stands for `fields.email`."""
    return place_label(f"fields.{field}" if field in FIELDS else field)


_FAILURES: Final[Mapping[str, str]] = _FILE["failures"]


def reason_words(reason: str) -> str:
    """Return a reason as words of a sentence: `timestamp missing`."""
    return _FAILURES.get(reason, reason.replace("_", " "))


def remedy(reason: str) -> str:
    """Return what to do about a reason; nothing for a reason that this release does not know."""
    return REASONS[reason].remedy if reason in REASONS else ""


_MATCH_KEYS = {rule.type.value: FIELDS[rule.field].label for rule in MATCH_KEYS}


def match_key_label(wire: str) -> str:
    """Return the label of the match key that Amazon calls `wire`. Return `wire` itself if it is unknown."""
    return _MATCH_KEYS.get(wire, wire)


def amazon_message(text: str | None) -> str:
    """Return Amazon's message without the position of the event in its request."""
    return re.sub(POSITION_IN_REQUEST, "", text or "")


def person(actor: str, names: Mapping[str, str]) -> str:
    """Return the name of an actor in `names`. Return an unknown actor unchanged."""
    return names.get(actor, "the bootstrap key" if actor == "bootstrap" else actor)


# The functions that templates use, by their name.
FILTERS = (
    *(age, amazon_message, change, countdown, event_type_label, events, field_label),
    *(match_key_label, number, person, quantity, reason_words, remedy, share),
)
