"""The audit in sentences. Pure."""

from collections.abc import Mapping
from typing import Any

from app.console.mapping_view import Change, changes
from app.store.audit import AuditAction

ACTS: Mapping[str, str] = {
    AuditAction.DESTINATION_CREATED: "made the destination",
    AuditAction.DESTINATION_CHANGED: "changed the destination",
    AuditAction.DESTINATION_CONNECT_BEGUN: "opened Amazon's sign-in",
    AuditAction.DESTINATION_CONNECTED: "connected it to Amazon",
    AuditAction.DESTINATION_DISCONNECTED: "disconnected it from Amazon",
    AuditAction.DESTINATION_PAUSED: "paused it",
    AuditAction.DESTINATION_RESUMED: "resumed it",
    AuditAction.DESTINATION_CALLBACK_CHANGED: "changed whether the journey engine is told of final states",
    AuditAction.DESTINATION_ARCHIVED: "deleted the destination",
    AuditAction.MAPPING_CREATED: "made the mapping",
    AuditAction.MAPPING_CHANGED: "changed the mapping's draft",
    AuditAction.MAPPING_PUBLISHED: "published the mapping",
    AuditAction.MAPPING_ROLLED_BACK: "rolled the mapping back",
    AuditAction.MAPPING_ARCHIVED: "deleted the mapping",
    AuditAction.EVENT_NAME_RENAMED: "renamed an event everywhere",
    AuditAction.EVENTS_REPLAYED: "sent events again",
    AuditAction.SUBJECT_ERASURE_REQUESTED: "asked for a person's data to be erased",
    AuditAction.PREFLIGHT_CONFIRMED: "confirmed a line of the preflight",
    AuditAction.PREFLIGHT_WITHDRAWN: "took a confirmation back",
    AuditAction.KEY_CREATED: "made a key",
    AuditAction.KEY_ROTATED: "replaced a key, the old one ending later",
    AuditAction.KEY_REVOKED: "revoked a key",
}


def sentence(action: str) -> str:
    """Return what was done, after the name of who did it."""
    # A row of a version to come, or of one long gone, has at least its own word.
    return ACTS.get(action, action.replace("_", " ").replace(".", ": "))


def page_of(entry: Mapping[str, Any]) -> str | None:
    """Return the address of the page that shows what an act was done to, where there is one."""
    if entry["destination_id"] is None:
        return None
    here = f"/console/destinations/{entry['destination_id']}"
    return f"{here}/mappings/{entry['subject']}" if entry["subject"].startswith("map_") else here


def differences(entry: Mapping[str, Any]) -> list[Change]:
    """Return what an act changed, as the audit kept it."""
    return changes(entry["before"], entry["after"] or {})
