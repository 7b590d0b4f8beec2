"""The audit in sentences. Pure."""

from collections.abc import Mapping
from typing import Any

from app.web.console.present_mapping import Change, changes

ACTS: Mapping[str, str] = {
    "destination.created": "made the destination",
    "destination.changed": "changed the destination",
    "destination.connect_begun": "opened Amazon's sign-in",
    "destination.connected": "connected it to Amazon",
    "destination.disconnected": "disconnected it from Amazon",
    "destination.paused": "paused it",
    "destination.resumed": "resumed it",
    "destination.archived": "deleted the destination",
    "destination.parked": "parked it: the sign-in is gone",
    "mapping.created": "made the mapping",
    "mapping.changed": "changed the mapping's draft",
    "mapping.published": "published the mapping",
    "mapping.rolled_back": "rolled the mapping back",
    "mapping.archived": "deleted the mapping",
    "events.replayed": "sent events again",
    "event_name.renamed": "renamed an event everywhere",
    "key.created": "made a key",
    "key.revoked": "revoked a key",
}


def sentence(act: str) -> str:
    """Return what was done, after the name of who did it."""
    return ACTS.get(act, act.replace("_", " ").replace(".", ": "))


def differences(entry: Mapping[str, Any]) -> list[Change]:
    """Return what an act changed, as the audit kept it."""
    return changes(entry["before"], entry["after"] or {})
