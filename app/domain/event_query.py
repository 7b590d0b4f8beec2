"""A filter of events, for lists, exports, searches, figures, replays and dismissals. Pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Final

from app.domain.batch import SEARCHED_IDS, EventMetadata, may_hold_id
from app.domain.event import JOURNEY_IDS, JourneySelection
from app.domain.outcomes.reasons import failure_cause
from app.domain.outcomes.status import Status

MEMBERS: Final = ("event_id", "event_type", "request_id", *JOURNEY_IDS)
"""The members of a filter that are compared with the member of the same name of an event's metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery(JourneySelection):
    """Which events; None means any. `since` and `until` limit the time of acceptance or rejection.

    `rejected` selects only rejected events (True) or only accepted events (False).
    """

    status: Status | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    mapping_id: str | None = None
    event_type: str | None = None
    cause: str | None = None  # of a permanent failure: domain/outcomes/reasons.py
    any_id: str | None = None  # of the event, its execution, journey, node or request
    event_id: str | None = None
    request_id: str | None = None  # of the post that contained it
    field: str | None = None  # the source path that rejected it
    rejected: bool | None = None
    event_ids: Sequence[str] | None = None
    dismissed: bool | None = None  # dead letters that a person marked as handled, or all other events

    @property
    def journey(self) -> dict[str, str]:
        """Return the wanted ids of journey, node and execution, by member name."""
        return {name: value for name in JOURNEY_IDS if (value := getattr(self, name)) is not None}

    @property
    def members(self) -> dict[str, str]:
        """Return the wanted metadata values, by member name."""
        return {name: value for name in MEMBERS if (value := getattr(self, name)) is not None}

    @property
    def searched_id(self) -> str | None:
        """Return the first id that each matching event has; None if the filter names no id."""
        ids = (self.any_id, *(getattr(self, name) for name in SEARCHED_IDS))
        return next((id_ for id_ in ids if id_ is not None), None)

    @property
    def may_be_accepted(self) -> bool:
        """Return whether an accepted event can match: no source path rejected it."""
        return self.rejected is not True and self.field is None

    @property
    def may_be_rejected(self) -> bool:
        """Return whether a rejected event can match: it has no delivery status and no event type."""
        needs_acceptance = self.status is not None or self.event_type is not None or self.dismissed
        return self.rejected is not False and not needs_acceptance

    def may_match(self, accepted_at: datetime, shapes: bytes | None) -> bool:
        """Return whether a batch, judged by its time and packed metadata, can contain a matching event."""
        is_late = self.until is not None and accepted_at >= self.until
        is_early = self.since is not None and accepted_at < self.since
        return not is_late and not is_early and self.may_contain(shapes)

    def may_contain(self, shapes: bytes | None) -> bool:
        """Return whether packed metadata can contain the wanted ids and the wanted type."""
        texts = [*self.members.values(), *([self.any_id] if self.any_id else [])]
        return all(may_hold_id(shapes, text) for text in texts)

    def matches(self, shape: EventMetadata) -> bool:
        """Return whether the metadata of an event matches, apart from status, reason and mapping."""
        if not all(getattr(shape, name) == value for name, value in self.members.items()):
            return False
        return self.any_id is None or any(getattr(shape, name) == self.any_id for name in SEARCHED_IDS)

    def includes(self, status: Status, reason: str | None, *, dismissed: bool = False) -> bool:
        """Return whether the filter includes this status, this reason and dismissed dead letters."""
        is_included = self.status in (None, status) and self.reason in (None, reason)
        return is_included and self.dismissed in (None, dismissed)

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
