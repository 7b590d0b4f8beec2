"""POST /events: read the query and every form of body, and return one result per event."""

import json
from collections.abc import Set
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple

from fastapi import Body, Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import QueryParams
from starlette.types import Scope as ASGIScope

from app.admin import ErrorCode, Problem, Refusal, Scope, invalid
from app.admin.mappings.field_problems import field_problems
from app.api.access.secured_route import SecuredRouter
from app.api.errors import ErrorBody, malformed_body
from app.api.events import models
from app.api.http.query_parameters import (
    DeclaredParameters,
    of_keyed_route,
    refused_parameters,
    unreadable_target,
)
from app.api.http.responses import exact_json
from app.domain import strict_json
from app.domain.admission import SHED_SPECS, ShedReason
from app.domain.event import BodyProblem, Event, Rejection, journey_ids, read_events, read_lines
from app.ingest.intake import EventResult

router = SecuredRouter("events")

NDJSON = "application/x-ndjson"

# Limits of a body. Parsed values need more memory than their JSON: an empty list 20 times as much, a short
# decimal 30 times. At the maximum number of events, each event may have 50 containers and 100 values.
MOST_CONTAINERS = 250_000
MOST_VALUES = 500_000


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
    dry_run: bool = False
    """Return what would be sent; store nothing."""


NO_QUERY: Final = EventsQuery()
_PARAMETERS: Final = of_keyed_route(DeclaredParameters(frozenset(EventsQuery.model_fields)))


_EXAMPLES: Final = {
    "event": {"summary": "One event", "value": models.EXAMPLE_EVENT},
    "list": {"summary": "A list of events", "value": [models.EXAMPLE_EVENT]},
    "events": {"summary": "A batch under `events`", "value": {"events": [models.EXAMPLE_EVENT]}},
    "rows": {"summary": "A batch under `rows`", "value": {"rows": [models.EXAMPLE_EVENT]}},
}
_NDJSON_BODY: Final = {
    NDJSON: {
        "schema": {"type": "string", "description": "One event per line."},
        "example": json.dumps(models.EXAMPLE_EVENT) + "\n",
    }
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": models.EventResults, "description": "With dry_run: the results of the real call."},
    202: {
        "description": "Every event was accepted or is a duplicate. Accepted events are on disk.",
        "content": models.content(
            accepted=("The event is new", models.ACCEPTED),
            duplicate=("The event was accepted before", models.DUPLICATE),
        ),
    },
    207: {
        "model": models.EventResults,
        "description": "Some events were rejected. See results.",
        "content": models.content(some=("The second of two events has no time", models.SOME_REJECTED)),
    },
    422: {
        "model": models.EventResults | ErrorBody,
        "description": "Every event was rejected: see results. Or no event was read (an empty batch, an "
        "unknown parameter): an error.",
        "content": models.content(
            rejected=("The only event has no time", models.ALL_REJECTED),
            unread=("A misspelt parameter", models.NOT_READ),
        ),
    },
    429: {
        "model": ErrorBody,
        "description": "Nothing was stored. Send the same request again after Retry-After.",
        "content": models.content(share=("Too much at the same time", models.TOO_MANY)),
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
    body: Annotated[
        models.SentEvent | list[models.SentEvent] | models.EventsBatch | models.RowsBatch,
        Body(openapi_examples=_EXAMPLES),
    ],
) -> models.EventResults:
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


def reject_late(events: list[Event | Rejection], late: Set[str]) -> list[Event | Rejection] | None:
    """Replace each event of a destination in `late` with a rejection that tells the sender to try again
    later. Return None if that concerns all events.
    """
    if all(isinstance(event, Event) and event.destination_id in late for event in events):
        return None
    detail = "The oldest event in the advertiser's queue has waited for three quarters of the age limit."
    return [
        Rejection(
            "backlog_too_long",
            "destination_id",
            None,
            detail,
            event.event_id,
            destination_id=event.destination_id,
            journey=journey_ids(event.content),
        )
        if isinstance(event, Event) and event.destination_id in late
        else event
        for event in events
    ]


def read_body(
    body: bytes, media_type: str, destination: str | None, mapping: str | None
) -> list[Event | Rejection]:
    """Return the events of a body. A malformed event becomes a rejection. Raises Refusal."""
    if len(body) > MOST_CONTAINERS and body.count(b"[") + body.count(b"{") > MOST_CONTAINERS:
        raise Refusal(ErrorCode.TOO_LARGE, "The body contains more than 250,000 arrays and objects.")
    if len(body) > MOST_VALUES and body.count(b",") > MOST_VALUES:
        raise Refusal(ErrorCode.TOO_LARGE, "The body contains more than 500,000 values.")
    if media_type == NDJSON:
        read = read_lines(body, default_destination=destination, default_mapping=mapping)
    else:
        parsed = strict_json.parse(body)
        if isinstance(parsed, strict_json.MalformedJson):
            raise Refusal.of(malformed_body(parsed))
        read = read_events(parsed, default_destination=destination, default_mapping=mapping)
    if isinstance(read, BodyProblem):
        match read.problem:
            case "too_many_events":
                raise Refusal(ErrorCode.TOO_MANY_EVENTS, read.detail)
            case "empty_batch":
                raise invalid("events", "empty", read.detail)
            case _:
                raise Refusal(ErrorCode.MALFORMED, read.detail)
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
    return EventsResponse(status, exact_json(body))


def _rejected(result: EventResult, rejection: Rejection) -> models.EventResultBody:
    body: models.EventResultBody = {
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
