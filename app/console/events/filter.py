"""The filter of the event pages: that of the API with a time range, and what links between pages add."""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Annotated

from fastapi import Depends, Query
from pydantic import Field

from app.api.events.filters import JOURNEY_LABELS, Id, MixedFilter
from app.api.export import ExportFormat
from app.console.time_range import PARAMETER, RangeName, TimeRange, time_range

Word = Annotated[str, Field(max_length=64)]


class ConsoleFilter(MixedFilter):
    """The query parameters of an event page. A reason that does not exist finds no event."""

    reason: Word | None = None
    field: Id | None = None
    cause: Word | None = None  # of a group on the page of failures
    day: date | None = None  # the range begins with this day (UTC)
    range_name: RangeName | None = Field(default=RangeName.MONTH, alias=PARAMETER)

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The query parameters that are not empty."""
        chosen = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return [
            (name, str(value).lower() if isinstance(value, bool) else value)
            for name, given in chosen.items()
            for value in (given if isinstance(given, list) else [given])
        ]

    @property
    def is_empty(self) -> bool:
        """Whether nothing but the time range is chosen."""
        return all(name == PARAMETER for name, _ in self.parameters)

    @property
    def journey_fields(self) -> list[tuple[str, str, str]]:
        """Name, label and value of the form fields for the ids of journey, node and execution."""
        return [(name, label, getattr(self, name) or "") for name, label in JOURNEY_LABELS.items()]

    def range(self, now: datetime) -> TimeRange:
        """Return the time range that ends now."""
        chosen = time_range(self.range_name or RangeName.MONTH, now)
        since = datetime.combine(self.day, time(), UTC) if self.day else self.since
        return replace(chosen, since=since) if since else chosen


def _file_format(format: ExportFormat = ExportFormat.CSV) -> ExportFormat:
    return format


# Annotated types for the parameters of routes.
Events = Annotated[ConsoleFilter, Query()]
FileFormat = Annotated[ExportFormat, Depends(_file_format)]
