"""Present incidents, their timeline and their chart. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from app.console.wording import Label, age, amazon_message
from app.domain.incidents.causes import ACCESS, OPERATOR, advice
from app.domain.incidents.kinds import KINDS, Kind, Remedy
from app.domain.incidents.machine import Incident
from app.domain.notifications.policy import SentMessages
from app.store.destinations.figures import RequestRow
from app.store.incidents import StoredIncident

MUTE_HOURS: Final = (1, 8, 24, 168)
STATES: Final[Mapping[str, str]] = {"open": "Open", "acknowledged": "Acknowledged", "resolved": "Resolved"}

TONES: Final[Mapping[str, str]] = {"critical": "bad", "warning": "warn", "info": "quiet"}


@dataclass(frozen=True, slots=True)
class RemedyButton:
    """The button next to an incident: a form that is posted, or a link."""

    label: str
    address: str
    is_post: bool = False


_OF_SERVICE: Final[Mapping[Kind, RemedyButton]] = {
    Kind.NO_WORKER: RemedyButton("Check workers", "/console/system"),
    Kind.DATABASE_SLOW: RemedyButton("Check database", "/console/system"),
    Kind.NOTIFICATIONS_FAILING: RemedyButton("Check channels", "/console/notifications"),
}
# The label of the button for each action, and its address below the page of the destination.
_LINKS: Final[Mapping[Remedy, tuple[str, str]]] = {
    Remedy.REPLAY: ("View errors", "/errors"),
    Remedy.OPEN_MAPPING: ("Open mappings", "/mappings"),
}
_CHANGES: Final[Mapping[Remedy, tuple[str, str]]] = {
    Remedy.RECONNECT: ("Reconnect", "/connect"),
    Remedy.RESUME: ("Resume", "/resume"),
    Remedy.OPEN_SETTINGS: ("Check region and ID", "/settings"),
    Remedy.RAISE_LIMIT: ("Raise limit", "/settings"),
}


def remedy_button(
    incident: Incident, *, may_write: bool, may_replay: bool = False, suspended: bool | None = False
) -> RemedyButton | None:
    """Return the button for the action of an incident; a visitor who may not use it gets a link.

    `suspended` says that only the operator of the service can resume the destination.
    """
    if incident.destination is None:
        return None if incident.reason == OPERATOR else _OF_SERVICE.get(incident.kind)
    page = f"/console/destinations/{incident.destination}"
    if incident.kind is Kind.REJECTIONS:
        return RemedyButton("View rejections", f"{page}/rejections?range=1h")
    if incident.kind is Kind.THROTTLED:  # by Amazon's limit: a higher one of the destination changes nothing
        return RemedyButton("View requests", f"{page}/requests?failed=true")
    if incident.kind is Kind.DEAD_LETTERS and may_replay:
        return RemedyButton("Replay or dismiss…", f"{page}/replay?status=dead&dismissed=false")
    action = advice(incident.kind, incident.reason)[1]
    if incident.kind in ACCESS and action is Remedy.OPEN_AMAZON:
        action = Remedy.RECONNECT  # after the person has access at Amazon
    offered = may_write and not (suspended and action is Remedy.RESUME)
    label, path = {**_LINKS, **(_CHANGES if offered else {})}.get(action, ("Open destination", ""))
    return RemedyButton(label, page + path, action in (Remedy.RECONNECT, Remedy.RESUME) and offered)


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
    """An incident as the pages show it. `note` says why nothing is left to do."""

    stored: StoredIncident
    tag: Label
    remedy: str
    consequences: str
    duration: str
    button: RemedyButton | None
    events_link: str | None
    note: str

    @property
    def title(self) -> str:
        return KINDS[self.stored.incident.kind].title


def present(
    stored: StoredIncident,
    now: datetime,
    *,
    may_write: bool,
    may_replay: bool = False,
    suspended: bool | None = False,
    holds: bool = True,
) -> IncidentDetails:
    """Return the view of an incident. `holds` says whether its condition still lasts."""
    incident = stored.incident
    lasts = incident.is_open and holds
    path = _EVENTS.get(incident.kind)
    notes = ["Acknowledged."] if incident.acknowledged_at is not None else []
    notes += [] if holds else ["Recovering: the problem is no longer observed. Resolves automatically."]
    button = remedy_button(incident, may_write=may_write, may_replay=may_replay, suspended=suspended)
    return IncidentDetails(
        stored,
        Label(incident.severity.capitalize(), TONES[incident.severity], "Severity"),
        remedy=advice(incident.kind, incident.reason)[0] if lasts else "",
        consequences=consequences_sentence(incident.consequences),
        duration=age(((incident.resolved_at or now) - incident.opened_at).total_seconds()),
        button=button if lasts else None,
        events_link=f"/console/destinations/{incident.destination}{path}"
        if incident.destination and path
        else None,
        note=" ".join(notes),
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
