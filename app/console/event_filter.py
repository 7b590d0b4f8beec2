"""The filter of the event pages. It converts query parameters to the filters of the use cases."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Annotated

from fastapi import Depends, Query

from app.admin.event_search import REJECTED
from app.api.export import ExportFormat
from app.console.time_range import PARAMETER, RangeName, RangeParameter, TimeRange, time_range
from app.console.wording import STATUSES
from app.domain.event_query import EventQuery
from app.domain.outcomes.status import Status
from app.store.rejection_records import RejectionFilter

_Word = Annotated[str, Query(max_length=64)]
_Id = Annotated[str, Query(max_length=256)]


@dataclass(frozen=True, slots=True)
class EventParameters:
    """The query parameters of an event page; "" means any."""

    status: Annotated[str, Query(max_length=20)] = ""
    reason: _Word = ""
    event_type: Annotated[str, Query(alias="type", max_length=64)] = ""
    mapping: _Word = ""
    field: _Id = ""
    execution: _Id = ""
    journey: _Id = ""
    node: _Id = ""
    range_name: RangeParameter = RangeName.MONTH
    cause: _Word = ""  # of a group on the errors page
    dismissed: bool | None = None
    day: date | None = None  # the range begins with this day (UTC)

    @property
    def chosen_status(self) -> str:
        """The status, or "" if it is unknown."""
        return self.status if self.status == REJECTED or self.status in STATUSES else ""

    @property
    def rejected(self) -> bool | None:
        """Return True for only rejected events, False for only accepted events, and None for both."""
        return self.chosen_status == REJECTED if self.chosen_status else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing but the time range is chosen."""
        return [name for name, _ in self.parameters] == [PARAMETER]

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The query parameters that are not empty."""
        named = (
            ("status", self.chosen_status), ("reason", self.reason), ("type", self.event_type),
            ("mapping", self.mapping), ("field", self.field), ("execution", self.execution),
            ("journey", self.journey), ("node", self.node), ("cause", self.cause),
            ("dismissed", "" if self.dismissed is None else str(self.dismissed).lower()),
            ("day", self.day.isoformat() if self.day else ""), (PARAMETER, self.range_name.value),
        )  # fmt: skip
        return [(name, value) for name, value in named if value]

    def range(self, now: datetime) -> TimeRange:
        """Return the time range that ends now."""
        chosen = time_range(self.range_name, now)
        return replace(chosen, since=datetime.combine(self.day, time(), UTC)) if self.day else chosen

    def events(self, since: datetime | None, any_id: str | None = None) -> EventQuery:
        """Return the filter of accepted events."""
        status = self.chosen_status
        return EventQuery(
            status=Status(status) if status in STATUSES else None,
            reason=self.reason or None,
            since=since,
            mapping_id=self.mapping or None,
            execution_id=self.execution or None,
            journey_id=self.journey or None,
            node_id=self.node or None,
            event_type=self.event_type or None,
            cause=self.cause or None,
            any_id=any_id,
            dismissed=self.dismissed,
        )

    def rejections(self, since: datetime) -> RejectionFilter:
        """Return the filter of rejected events."""
        return RejectionFilter(
            since=since,
            reason=self.reason or None,
            field=self.field or None,
            mapping_id=self.mapping or None,
            execution_id=self.execution or None,
            journey_id=self.journey or None,
            node_id=self.node or None,
        )


def _file_format(format: ExportFormat = ExportFormat.CSV) -> ExportFormat:
    return format


# Annotated types for the parameters of routes.
Events = Annotated[EventParameters, Depends()]
FileFormat = Annotated[ExportFormat, Depends(_file_format)]
