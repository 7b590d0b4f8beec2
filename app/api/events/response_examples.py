"""Responses to `POST /events`, for the API description. A test gets each of them from the service."""

from collections.abc import Mapping
from typing import Any, Final

from app.api.events.models import EXAMPLE_EVENT

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
