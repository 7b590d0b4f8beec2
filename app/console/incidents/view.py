"""Present incidents. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.console.wording import Label, events
from app.domain.incidents.causes import advice
from app.domain.incidents.kinds import KINDS, Kind
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


def consequences_sentence(consequences: Sequence[Kind]) -> str:
    """Return a sentence about what an incident explains, after a space; nothing if it explains nothing."""
    titles = ", ".join(KINDS[kind].title.lower() for kind in consequences)
    return f" Consequences: {titles}." if titles else ""


@dataclass(frozen=True, slots=True)
class IncidentDetails:
    """An incident as the pages show it. `link` is the address and the label of a button."""

    stored: StoredIncident
    title: str
    tag: Label
    state_label: str
    remedy: str
    consequences: str
    affected: str | None
    link: tuple[str, str] | None


def present(stored: StoredIncident) -> IncidentDetails:
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
        link=link,
    )
