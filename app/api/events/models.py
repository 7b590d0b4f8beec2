"""Request and response models about events: results, lists, histories and statistics."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from app.admin.events.summary import EventSummary
from app.api.paging import BatchPage, Page
from app.domain.event import EventProblem
from app.domain.outcomes.reasons import JourneyCode, WarningView
from app.store.events.rejections import ALSO, RejectionRecord, RejectionSummary

EXAMPLE_EVENT: dict[str, Any] = {
    "event_id": "ord-1001:node-7",
    "destination_id": "dst_0a1b2c3d4e5f6g7h8i9j",
    "mapping_id": "map_0a1b2c3d4e5f6g7h8i9j",
    "event": {"name": "addToCart", "timestamp": "2026-11-24T10:00:00Z", "properties": {"brand": "acme"}},
    "user": {"email": "ada@example.com", "first_name": "Ada"},
}


class SentEvent(TypedDict, total=False):
    """An event. The ids below identify and route it. A mapping reads all other members by their paths."""

    __pydantic_config__ = ConfigDict(  # type: ignore[misc]
        extra="allow", json_schema_extra={"examples": [EXAMPLE_EVENT]}, use_attribute_docstrings=True
    )

    event_id: Annotated[str, Field(min_length=1, max_length=256)]
    """The idempotency key. Pages and logs show it, so an id with an `@`, a phone number or an advertising id
    is refused. Default: derived from the content.
    """
    destination_id: str
    """Default: `destination_id` of the query."""
    mapping_id: str
    """Default: `mapping_id` of the query, or the only mapping."""


class EventsBatch(TypedDict):
    """A body that contains its events under `events`."""

    events: list[SentEvent]


class RowsBatch(TypedDict):
    """A body that contains its events under `rows`."""

    rows: list[SentEvent]


class EventResultBody(TypedDict):
    """The result of an event.

    For a rejection, `code`, `reason`, `field`, `mapping_field` and `detail` describe its first problem.
    """

    index: int
    event_id: Annotated[str | None, Field(description="Null if the id itself was refused.")]
    status: Literal["accepted", "duplicate", "rejected"]
    code: NotRequired[JourneyCode]
    reason: NotRequired[Annotated[str, Field(examples=["timestamp_missing"])]]
    field: NotRequired[Annotated[str | None, Field(description="The path in the event.")]]
    mapping_field: NotRequired[Annotated[str | None, Field(description="The field of the mapping.")]]
    detail: NotRequired[str]
    also: NotRequired[Annotated[Sequence[EventProblem], Field(description=ALSO)]]
    warnings: NotRequired[list[WarningView]]
    preview: NotRequired[
        Annotated[Mapping[str, Any], Field(description="With `dry_run`: the conversion that would be sent.")]
    ]


class EventResults(TypedDict):
    """One result per event of a request, in the order of the events."""

    accepted: Annotated[int, Field(examples=[1])]
    duplicates: Annotated[int, Field(examples=[0])]
    rejected: Annotated[int, Field(examples=[0])]
    results: list[EventResultBody]


class EventSummaryPage(BatchPage[EventSummary]):
    """A page of events, newest first."""

    unreadable_batches: int
    """The number of damaged batches. Their events are missing from the page."""
    searched_back_to: datetime | None
    """The search covered accepted events back to this time."""


class RejectionPage(Page[RejectionRecord]):
    """A page of rejected events, newest first."""


class RejectionSummaryPage(Page[RejectionSummary]):
    """Exact counts of rejected events, most frequent first."""


# Responses to `POST /events`, for the API description. A test gets each of them from the service.
_ID: Final = EXAMPLE_EVENT["event_id"]
OTHER_ID: Final = "ord-1002:node-7"

REJECTION: Final = {
    "status": "rejected",
    "code": "BAD_REQUEST",
    "reason": "timestamp_missing",
    "field": "event.timestamp",
    "mapping_field": "event_timestamp",
    "detail": "Event Timestamp is mapped to event.timestamp, which is absent.",
}


def _results(*results: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the response with these results."""
    statuses = [result["status"] for result in results]
    counts = [statuses.count(status) for status in ("accepted", "duplicate", "rejected")]
    listed = [{"index": index, **result} for index, result in enumerate(results)]
    return {**dict(zip(("accepted", "duplicates", "rejected"), counts, strict=True)), "results": listed}


ACCEPTED: Final = _results({"event_id": _ID, "status": "accepted"})
DUPLICATE: Final = _results({"event_id": _ID, "status": "duplicate"})
SOME_REJECTED: Final = _results({"event_id": _ID, "status": "accepted"}, {"event_id": OTHER_ID, **REJECTION})
ALL_REJECTED: Final = _results({"event_id": OTHER_ID, **REJECTION})
NOT_READ: Final = {
    "error": "invalid",
    "detail": "The query has an unknown or duplicate parameter. Accepted parameters: destination_id, "
    "dry_run, mapping_id, organisation_id, priority.",
    "fields": [{"field": "dryrun", "problem": "unknown_parameter"}],
}
TOO_MANY: Final = {
    "error": "too_many_requests",
    "detail": "This key or organisation uses its share of memory, connections or work. Try again.",
    "fields": [],
    "code": "RATE_LIMIT",
}


def content(**examples: tuple[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the content of a response in the description, from a summary and a body for each example."""
    values = {name: {"summary": summary, "value": body} for name, (summary, body) in examples.items()}
    return {"application/json": {"examples": values}}
