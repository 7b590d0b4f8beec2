"""A filter of events, for lists, exports, searches, figures, replays and dismissals. Pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime

from app.domain.batch import EventMetadata, may_hold_id
from app.domain.outcomes.failure_cause import failure_cause
from app.domain.outcomes.status import Status

_MEMBERS = ("execution_id", "journey_id", "node_id", "event_type")


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events; None means any. `since` and `until` limit the time of acceptance."""

    status: Status | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    mapping_id: str | None = None
    execution_id: str | None = None
    journey_id: str | None = None
    node_id: str | None = None
    event_type: str | None = None
    cause: str | None = None  # of a permanent failure: domain/outcomes/failure_cause.py
    any_id: str | None = None  # of the event, its execution, journey, node or request
    event_ids: Sequence[str] | None = None
    dismissed: bool | None = None  # dead letters that a person marked as handled, or all other events

    @property
    def members(self) -> dict[str, str]:
        """Return the wanted metadata values, by member name."""
        return {name: value for name in _MEMBERS if (value := getattr(self, name)) is not None}

    def may_match(self, accepted_at: datetime, shapes: bytes | None) -> bool:
        """Return whether a batch, judged by its time and packed metadata, can contain a matching event."""
        if self.until is not None and accepted_at >= self.until:
            return False
        if self.since is not None and accepted_at < self.since:
            return False
        return self.may_contain(shapes)

    def may_contain(self, shapes: bytes | None) -> bool:
        """Return whether packed metadata can contain the wanted ids and the wanted type."""
        texts = [*self.members.values(), *([self.any_id] if self.any_id else [])]
        return all(may_hold_id(shapes, text) for text in texts)

    def matches(self, shape: EventMetadata) -> bool:
        """Return whether the metadata of an event matches, apart from status, reason and mapping."""
        if not all(getattr(shape, name) == value for name, value in self.members.items()):
            return False
        ids = (shape.event_id, shape.execution_id, shape.journey_id, shape.node_id, shape.request_id)
        return self.any_id is None or self.any_id in ids

    def includes(self, status: Status, reason: str | None, *, dismissed: bool = False) -> bool:
        """Return whether the filter includes this status, this reason and dismissed dead letters."""
        return (
            self.status in (None, status)
            and self.reason in (None, reason)
            and self.dismissed in (None, dismissed)
        )

    def has_cause(self, code: str | None, message: str | None) -> bool:
        """Return whether the filter includes events that Amazon refused with this code and message."""
        return self.cause is None or self.cause == failure_cause(code, message)

    def for_replay(self, *, include_dismissed: bool = False) -> "EventQuery":
        """Return the filter of a replay. It leaves out dismissed dead letters that are not named by id."""
        if include_dismissed or self.event_ids is not None or self.dismissed is not None:
            return self
        return replace(self, dismissed=False)

    @property
    def document(self) -> dict[str, object]:
        """The members that restrict the filter, as JSON for records and the audit.

        Event ids are recorded by their number and the SHA-256 of the sorted ids, joined by LF.
        """
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        texts = {
            name: value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
            for name, value in found.items()
            if value is not None
        }
        if self.event_ids is not None:
            ids = sorted(set(self.event_ids))
            digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
            texts["event_ids"] = {"count": len(ids), "sha256": digest}
        return texts
