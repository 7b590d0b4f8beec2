"""Present incidents. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from app.console.wording import Label, events

MUTE_HOURS: Final = (1, 8, 24, 168)
STATES: Final[Mapping[str, str]] = {"open": "Open", "acknowledged": "Acknowledged", "resolved": "Resolved"}

TONES: Final[Mapping[str, str]] = {"critical": "bad", "warning": "warn", "info": "quiet"}

TITLES: Final[Mapping[str, str]] = {
    "sign_in_lost": "Sign-in lost",
    "amazon_forbidden": "Access denied by Amazon",
    "failing": "Requests fail",
    "throttled": "Throttled by Amazon",
    "backlog": "Events wait too long",
    "expiring": "Events expire soon",
    "dead_letters": "Events failed permanently",
    "rejections": "Many events rejected",
    "volume_drop": "Few events received",
    "no_worker": "No worker",
    "database_slow": "Database slow",
    "notifications_failing": "Notifications fail",
    "schema_drift": "Event schema changed",
    "value_suspect": "Suspicious value",
}

# Where the action of an incident leads, below the page of its destination.
_ACTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "reconnect": ("", "Open destination"),
    "resume": ("", "Open destination"),
    "replay": ("/errors", "View errors"),
    "open_mapping": ("/rejections?range=1h", "View rejections"),
    "raise_limit": ("/settings", "Change rate limit"),
    "open_amazon": ("", "Open destination"),
}


def present(incident: Mapping[str, Any]) -> dict[str, Any]:
    """Return an incident as the pages show it."""
    destination, action = incident["destination_id"], _ACTIONS.get(incident["action"])
    link = None
    if destination is not None and action is not None:
        link = (f"/console/destinations/{destination}{action[0]}", action[1])
    return {
        **incident,
        "title": TITLES[incident["kind"]],
        "tag": Label(
            incident["severity"].capitalize(), TONES[incident["severity"]], STATES[incident["state"]]
        ),
        "state_label": STATES[incident["state"]],
        "affected": events(incident["affected_events"]) if incident["affected_events"] else None,
        "link": link,
    }
