"""Present audit entries as sentences. Pure."""

from collections.abc import Mapping

from app.console.mapping_view import Change, changes
from app.store.audit import AuditAction, AuditEntry

SENTENCES: Mapping[str, str] = {
    AuditAction.DESTINATION_CREATED: "created the destination",
    AuditAction.DESTINATION_CHANGED: "changed the destination",
    AuditAction.DESTINATION_CONNECT_BEGUN: "started the Amazon sign-in",
    AuditAction.DESTINATION_CONNECTED: "connected it to Amazon",
    AuditAction.DESTINATION_DISCONNECTED: "disconnected it from Amazon",
    AuditAction.DESTINATION_PAUSED: "paused it",
    AuditAction.DESTINATION_RESUMED: "resumed it",
    AuditAction.DESTINATION_CALLBACK_CHANGED: "changed the status callback",
    AuditAction.DESTINATION_ALERTING_CHANGED: "changed the alerting",
    AuditAction.DESTINATION_NOTIFICATIONS_CHANGED: "changed the notifications",
    AuditAction.INCIDENT_ACKNOWLEDGED: "acknowledged an incident",
    AuditAction.INCIDENT_MUTED: "muted an incident",
    AuditAction.DESTINATION_ARCHIVED: "deleted the destination",
    AuditAction.MAPPING_CREATED: "created the mapping",
    AuditAction.MAPPING_CHANGED: "changed the mapping's draft",
    AuditAction.MAPPING_PUBLISHED: "published the mapping",
    AuditAction.MAPPING_ROLLED_BACK: "rolled the mapping back",
    AuditAction.MAPPING_ARCHIVED: "deleted the mapping",
    AuditAction.EVENT_NAME_RENAMED: "renamed an event everywhere",
    AuditAction.EVENTS_REPLAYED: "replayed events",
    AuditAction.DEAD_LETTERS_DISMISSED: "dismissed dead letters",
    AuditAction.SUBJECT_ERASURE_REQUESTED: "requested the erasure of a person's data",
    AuditAction.SUBJECT_SEARCHED: "searched where a person is stored",
    AuditAction.PREFLIGHT_CONFIRMED: "confirmed a preflight check",
    AuditAction.PREFLIGHT_WITHDRAWN: "withdrew a preflight confirmation",
    AuditAction.KEY_CREATED: "created a key",
    AuditAction.KEY_ROTATED: "rotated a key",
    AuditAction.KEY_REVOKED: "revoked a key",
    AuditAction.ORGANISATION_CREATED: "created the organisation",
    AuditAction.ORGANISATION_CHANGED: "changed the organisation",
    AuditAction.ORGANISATION_SUSPENDED: "suspended the organisation",
    AuditAction.ORGANISATION_RESUMED: "resumed the organisation",
}


def sentence(action: str) -> str:
    """Return the sentence of an action, to follow its actor's name."""
    # An action that this release does not know is shown by its own words.
    return SENTENCES.get(action, action.replace("_", " ").replace(".", ": "))


def page_of(entry: AuditEntry) -> str | None:
    """Return the address of the page of an entry's subject, or None if it has none."""
    if entry.destination is None:
        return None
    destination = f"/console/destinations/{entry.destination}"
    return f"{destination}/mappings/{entry.subject}" if entry.subject.startswith("map_") else destination


def differences(entry: AuditEntry) -> list[Change]:
    """Return the changes that an entry records."""
    return changes(entry.before, entry.after or {})
