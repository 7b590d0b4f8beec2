"""POST /events: read the query and every form of body, and return one result per event."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired

from fastapi import Body, Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import QueryParams
from starlette.types import Scope as ASGIScope
from typing_extensions import TypedDict

from app.admin import ErrorCode, Problem, Refusal, Scope, invalid
from app.admin.field_problems import field_problems
from app.api.access.secured_route import SecuredRouter
from app.api.errors import ErrorBody, malformed_body
from app.api.http.query_parameters import (
    DeclaredParameters,
    Flag,
    of_keyed_route,
    refused_parameters,
    unreadable_target,
)
from app.api.http.responses import NDJSON
from app.domain import strict_json
from app.domain.admission import SHED_SPECS, ShedReason
from app.domain.event import LISTS, BodyProblem, EventProblem, Events, Rejection, read_events, read_lines
from app.domain.outcomes.reasons import JourneyCode, WarningView
from app.ingest.intake import EventResult
from app.store.events.rejections import ALSO

router = SecuredRouter("events")

# Limits of a body. Parsed values need more memory than their JSON: an empty list 20 times as much, a short
# decimal 30 times. At the maximum number of events, each event may have 50 containers and 100 values.
MOST_CONTAINERS = 250_000
MOST_VALUES = 500_000


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


class Priority(StrEnum):
    """The priority of the events.

    `low` is for backfill: such events get at most a fifth of the requests to Amazon.
    """

    LIVE = "live"
    LOW = "low"


class EventsQuery(BaseModel):
    """The query parameters of POST /events."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    destination_id: Annotated[str | None, Field(max_length=64)] = None
    """Default for events without one."""
    mapping_id: Annotated[str | None, Field(max_length=64)] = None
    """Default for events without one."""
    priority: Priority = Priority.LIVE
    """`low` is for backfill: live events get at least four fifths of the requests."""
    dry_run: Flag = False
    """Return what would be sent; store nothing."""


NO_QUERY: Final = EventsQuery()
_PARAMETERS: Final = of_keyed_route(DeclaredParameters(frozenset(EventsQuery.model_fields)))

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


def _content(**examples: tuple[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the content of a response in the description, from a summary and a body for each example."""
    values = {name: {"summary": summary, "value": body} for name, (summary, body) in examples.items()}
    return {"application/json": {"examples": values}}


_EXAMPLES: Final = {
    "event": {"summary": "One event", "value": EXAMPLE_EVENT},
    "list": {"summary": "A list of events", "value": [EXAMPLE_EVENT]},
    "events": {"summary": "A batch under `events`", "value": {"events": [EXAMPLE_EVENT]}},
    "rows": {"summary": "A batch under `rows`", "value": {"rows": [EXAMPLE_EVENT]}},
}
_NDJSON_BODY: Final = {
    NDJSON: {
        "schema": {"type": "string", "description": "One event per line."},
        "example": json.dumps(EXAMPLE_EVENT) + "\n",
    }
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": EventResults, "description": "With dry_run: the results of the real call."},
    202: {
        "description": "Every event was accepted or is a duplicate. Accepted events are on disk.",
        "content": _content(
            accepted=("The event is new", ACCEPTED), duplicate=("The event was accepted before", DUPLICATE)
        ),
    },
    207: {
        "model": EventResults,
        "description": "Some events were rejected. See results.",
        "content": _content(some=("The second of two events has no time", SOME_REJECTED)),
    },
    422: {
        "model": EventResults | ErrorBody,
        "description": "Every event was rejected: see results. Or no event was read (an empty batch, an "
        "unknown parameter): an error.",
        "content": _content(
            rejected=("The only event has no time", ALL_REJECTED), unread=("A misspelt parameter", NOT_READ)
        ),
    },
    429: {
        "model": ErrorBody,
        "description": "Nothing was stored. Send the same request again after Retry-After.",
        "content": _content(share=("Too much at the same time", TOO_MANY)),
    },
}


@router.post(
    "/events",
    Scope.EVENTS_WRITE,
    summary="Send events",
    status_code=202,
    responses=_ANSWERS,
    openapi_extra={"requestBody": {"content": _NDJSON_BODY}},
)
async def post_events(
    query: Annotated[EventsQuery, Query()],
    body: Annotated[SentEvent | list[SentEvent] | EventsBatch | RowsBatch, Body(openapi_examples=_EXAMPLES)],
) -> EventResults:
    """Accept one event, an array, `{"events": […]}`, `{"rows": […]}` or NDJSON, one event per line.

    202: every event is accepted or a duplicate. 207: some are rejected. 422: all are rejected. Accepted
    events are committed to disk (fsync) before the response.
    """
    raise NotImplementedError("app.server.fast_events serves this route")


def read_query(scope: ASGIScope) -> EventsQuery | Problem:
    """Return the query parameters of POST /events, or the problem with them."""
    query: bytes = scope["query_string"]
    problem = unreadable_target(scope) or refused_parameters(query, _PARAMETERS)
    if problem is not None:
        return problem
    try:
        return EventsQuery.model_validate(dict(QueryParams(query)))
    except ValidationError as error:
        return Problem(ErrorCode.INVALID, fields=field_problems(error.errors()))


NOT_STORED: Final = Problem(
    ErrorCode.UNAVAILABLE,
    "The events could not be stored; none was accepted. Send the same request again.",
    extra={"code": SHED_SPECS[ShedReason.COMMITS].code.value},
)


def read_body(body: bytes, media_type: str, destination: str | None, mapping: str | None) -> Events:
    """Return the events of a body. A malformed event becomes a rejection. Raises Refusal."""
    if len(body) > MOST_CONTAINERS and body.count(b"[") + body.count(b"{") > MOST_CONTAINERS:
        raise Refusal(ErrorCode.TOO_LARGE, "The body contains more than 250,000 arrays and objects.")
    if len(body) > MOST_VALUES and body.count(b",") > MOST_VALUES:
        raise Refusal(ErrorCode.TOO_LARGE, "The body contains more than 500,000 values.")
    if media_type == NDJSON:
        read = read_lines(body, default_destination=destination, default_mapping=mapping)
    else:
        parsed = strict_json.parse_outside(body, LISTS)
        if isinstance(parsed, strict_json.MalformedJson):
            raise Refusal.of(malformed_body(parsed))
        read = read_events(parsed, default_destination=destination, default_mapping=mapping)
    if isinstance(read, BodyProblem):
        if read.problem == "empty_batch":
            raise invalid("events", "empty", read.detail)
        has_too_many = read.problem == "too_many_events"
        raise Refusal(ErrorCode.TOO_MANY_EVENTS if has_too_many else ErrorCode.MALFORMED, read.detail)
    return read


class EventsResponse(NamedTuple):
    """The response to POST /events: its status, and its body as JSON."""

    status: int
    body: bytes


def results_response(results: list[EventResult], *, dry_run: bool = False) -> EventsResponse:
    """Return the HTTP response for the results of all events."""
    statuses = [result.status for result in results]
    rejected, duplicates = statuses.count("rejected"), statuses.count("duplicate")
    body = {
        "accepted": len(results) - rejected - duplicates,
        "duplicates": duplicates,
        "rejected": rejected,
        "results": [
            result if result.rejection is None else _rejected(result, result.rejection) for result in results
        ],
    }
    if rejected == len(results):
        status = 422
    elif rejected:
        status = 207
    else:
        status = 200 if dry_run else 202
    return EventsResponse(status, strict_json.exact_json(body))


def _rejected(result: EventResult, rejection: Rejection) -> EventResultBody:
    body: EventResultBody = {
        "index": result.index,
        "event_id": result.event_id,
        "status": result.status,
        "code": rejection.code,
        "reason": rejection.reason,
        "field": rejection.field,
        "mapping_field": rejection.mapping_field,
        "detail": rejection.detail,
    }
    if rejection.also:
        body["also"] = rejection.also
    if result.preview is not None:
        body["preview"] = result.preview
    return body
