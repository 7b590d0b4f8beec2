"""Filters of events: the query parameters of lists, the bodies of selections, and the console's forms.

All are subclasses of `EventFilter`, and `query` converts them to the filter of the use cases.
"""

from dataclasses import fields
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.admin.events.summary import REJECTED
from app.admin.inputs import EventTypeName, Instant, ReasonName, report_once
from app.api.http.query_parameters import Flag
from app.domain.event_query import EventQuery
from app.domain.outcomes.status import Status

_NAMES: Final = {each.name for each in fields(EventQuery)}
_STATUSES: Final = ", ".join([*Status, REJECTED])

Id = Annotated[str, Field(max_length=256)]


class JourneyFilter(BaseModel):
    """A filter by journey, node and execution. The titles are labels of the console."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    execution_id: Id | None = Field(default=None, title="Execution")
    """Only events of this journey execution."""
    journey_id: Id | None = Field(default=None, title="Journey")
    """Only events of this journey."""
    node_id: Id | None = Field(default=None, title="Node")
    """Only events of this journey node."""

    def query(self, **more: Any) -> EventQuery:
        """Return the filter of the use cases, with the members in `more`."""
        members = {name: getattr(self, name) for name in type(self).model_fields if name in _NAMES}
        return EventQuery(**{**members, **more})


JOURNEY_LABELS: Final = {name: field.title or name for name, field in JourneyFilter.model_fields.items()}


class EventFilter(JourneyFilter):
    """A filter of accepted and rejected events. A member that is absent accepts any value."""

    reason: ReasonName | None = None
    """Only events with this reason."""
    since: Instant | None = None
    """Only events accepted or rejected at or after this time."""
    until: Instant | None = None
    """Only events accepted or rejected before this time."""
    mapping_id: Id | None = None
    """Only events of this mapping."""


class MixedFilter(EventFilter):
    """A filter of accepted and rejected events, which can also select only rejected ones by their status."""

    status: Annotated[Status | Literal["rejected"], report_once(f"Use one of these: {_STATUSES}.")] | None = (
        None
    )
    """Only events of this status."""
    event_type: EventTypeName | None = None
    """Only accepted events of this type."""
    dismissed: Flag | None = None
    """Only dismissed dead letters, or only other events."""

    def query(self, **more: Any) -> EventQuery:
        """Return the filter of the use cases, with the members in `more`."""
        rejected = None if self.status is None else self.status == REJECTED
        status = None if rejected else self.status
        return super().query(**{"status": status, "rejected": rejected, **more})


class SearchFilter(MixedFilter):
    """The filter of the search over all destinations."""

    q: Id | None = None
    """An event id, execution id, journey id, node id, or request id (ours or Amazon's)."""
    destination_id: Annotated[str, Field(max_length=64)] | None = None
    """Only events of this destination."""


class RejectionFilter(EventFilter):
    """The filter of counts of rejected events."""

    field: Id | None = None
    """Only events with this source path."""


class RecordFilter(RejectionFilter):
    """The filter of a list of rejected events."""

    event_id: Id | None = None
    """Only events with this id."""
    request_id: Id | None = None
    """Only events of this post."""
