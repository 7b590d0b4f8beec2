"""Present incidents, their timeline and their chart. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from app.console.time_range import RangeName, TimeRange, time_range
from app.console.wording import Label, age, amazon_message, events
from app.domain.incidents.causes import advice
from app.domain.incidents.kinds import KINDS, Kind
from app.domain.incidents.machine import Incident
from app.domain.notifications.policy import SentMessages
from app.store.destinations.figures import RequestRow
from app.store.incidents import StoredIncident

MUTE_HOURS: Final = (1, 8, 24, 168)
STATES: Final[Mapping[str, str]] = {"open": "Open", "acknowledged": "Acknowledged", "resolved": "Resolved"}

TONES: Final[Mapping[str, str]] = {"critical": "bad", "warning": "warn", "info": "quiet"}

# The page and the label of the button for each action. The address is relative to the destination's page.
_ACTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "reconnect": ("", "Open destination"),
    "resume": ("", "Open destination"),
    "replay": ("/errors", "View errors"),
    "open_mapping": ("/rejections?range=1h", "View rejections"),
    "raise_limit": ("/settings", "Change rate limit"),
    "open_settings": ("/settings", "Check region and ID"),
    "open_amazon": ("", "Open destination"),
}


_REPAIRS: Final[Mapping[str, tuple[str, str]]] = {
    "reconnect": ("connect", "Reconnect"),
    "resume": ("resume", "Resume"),
}
# The list of the events that each kind of incident affects.
_EVENTS: Final[Mapping[Kind, str]] = {
    Kind.SIGN_IN_LOST: "/events?status=parked",
    Kind.AMAZON_FORBIDDEN: "/events?status=parked",
    Kind.FAILING: "/events?status=retrying",
    Kind.THROTTLED: "/events?status=queued",
    Kind.BACKLOG: "/events?status=queued",
    Kind.DEAD_LETTERS: "/events?status=dead&dismissed=false",
    Kind.REJECTIONS: "/rejections?range=24h",
}


def consequences_sentence(consequences: Sequence[Kind]) -> str:
    """Return a sentence about what an incident explains, after a space; nothing if it explains nothing."""
    titles = ", ".join(KINDS[kind].title.lower() for kind in consequences)
    return f" Consequences: {titles}." if titles else ""


@dataclass(frozen=True, slots=True)
class IncidentDetails:
    """An incident as the pages show it. `link` is the address and the label of a button.

    `action` is what repairs it at once: the last part of the form's address, and the label of its button.
    """

    stored: StoredIncident
    title: str
    tag: Label
    state_label: str
    remedy: str
    consequences: str
    affected: str | None
    duration: str
    link: tuple[str, str] | None
    action: tuple[str, str] | None
    events_link: str | None


def present(stored: StoredIncident, now: datetime) -> IncidentDetails:
    """Return the view of an incident."""
    incident = stored.incident
    remedy, action_name = advice(incident.kind, incident.reason)
    action, link = _ACTIONS.get(action_name), None
    if incident.destination is not None and action is not None and incident.is_open:
        link = (f"/console/destinations/{incident.destination}{action[0]}", action[1])
    state = STATES[incident.state]
    return IncidentDetails(
        stored,
        title=KINDS[incident.kind].title,
        tag=Label(incident.severity.capitalize(), TONES[incident.severity], state),
        state_label=state,
        remedy=remedy if incident.is_open else "",
        consequences=consequences_sentence(incident.consequences),
        affected=events(incident.affected_events) if incident.affected_events else None,
        duration=age(((incident.resolved_at or now) - incident.opened_at).total_seconds()),
        link=link,
        action=_REPAIRS.get(action_name) if incident.destination is not None and incident.is_open else None,
        events_link=None
        if incident.destination is None or (path := _EVENTS.get(incident.kind)) is None
        else f"/console/destinations/{incident.destination}{path}",
    )


class IncidentStep(NamedTuple):
    """What happened to an incident, and when."""

    at: datetime
    sentence: str


def timeline(
    stored: StoredIncident, messages: Mapping[str, SentMessages], acknowledged_by: str | None
) -> list[IncidentStep]:
    """Return what happened to an incident, oldest first."""
    incident = stored.incident
    found = [
        (incident.opened_at, f"Opened: {incident.severity}."),
        (incident.acknowledged_at, f"Acknowledged by {acknowledged_by or 'an unknown person'}."),
        (incident.resolved_at, "Resolved."),
    ]
    for channel, sent in messages.items():
        found += [
            (sent.opened_at, f"Message to {channel}: opened."),
            (sent.reminded_at, f"Last reminder to {channel}."),
            (sent.resolved_at, f"Message to {channel}: resolved."),
        ]
    entries = [IncidentStep(at, sentence) for at, sentence in found if at is not None]
    return sorted(entries, key=lambda entry: entry.at)


def range_of(incident: Incident, now: datetime) -> TimeRange:
    """Return the shortest range that begins before the incident was opened; the longest is a month."""
    ranges = [time_range(name, now) for name in RangeName]
    return next((each for each in ranges if each.since + each.bucket < incident.opened_at), ranges[-1])


def last_answer(requests: Sequence[RequestRow]) -> tuple[datetime, str] | None:
    """Return the time and the words of Amazon's newest answer that was no success."""
    for request in requests:
        if request.outcome != "answered" or request.message:
            status = (
                f"HTTP {request.http_status}" if request.http_status else request.outcome.replace("_", " ")
            )
            message = amazon_message(request.message)
            return request.started_at, f"{status}: {message}" if message else status
    return None
