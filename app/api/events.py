"""POST /events: the journey's door. Reads every body form, answers one result for each event."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import Response
from starlette.types import Scope as ASGIScope

from app.admin.access import Caller, Scope
from app.admin.context import AppContext
from app.admin.field_problems import field_problems, request_path
from app.admin.refusals import ErrorCode, Problem, Refusal
from app.admin.refusals import FieldProblem as Wrong
from app.api.errors import malformed_body
from app.api.headers import RawHeaders
from app.api.json_response import exact_json
from app.api.query_parameters import unreadable_target
from app.api.secured_route import SecuredRoute, check_media_type, reads_its_own_body, requires
from app.domain import strict_json
from app.domain.admission import SHED_SPECS, ShedReason, retry_after
from app.domain.event import BodyProblem, Event, Rejection, read_events, read_lines
from app.domain.ids import DestinationId
from app.ingest.group_commit import NotStored
from app.ingest.intake import EventResult, Intake

router = APIRouter(route_class=SecuredRoute, tags=["events"])

NDJSON = "application/x-ndjson"

# Fifty for each of the most events, and a hundred values. In memory an empty list is twenty times its three
# bytes, a short decimal thirty times its four.
MOST_CONTAINERS = 250_000
MOST_VALUES = 500_000


class Priority(StrEnum):
    """Whether events go out as they come, or behind everything that does."""

    LIVE = "live"
    LOW = "low"


class EventsQuery(BaseModel):
    """What the query of a post sets for its events."""

    destination_id: Annotated[str | None, Field(max_length=64, description="For events that name none.")] = (
        None
    )
    mapping_id: Annotated[str | None, Field(max_length=64, description="For events that name none.")] = None
    priority: Annotated[
        Priority,
        Field(
            description="`low`: behind what is live, at most a fifth of the requests; for what is filled in."
        ),
    ] = Priority.LIVE
    dry_run: Annotated[bool, Field(description="Answer what would be sent, and store nothing.")] = False


_NO_QUERY: Final = EventsQuery()


@router.post("/events", summary="Send events", response_model=None, openapi_extra={"x-events-body": True})
@requires(Scope.EVENTS_WRITE)
@reads_its_own_body
async def post_events(query: Annotated[EventsQuery, Query()]) -> Response:
    """Take one event, an array, `{"events": […]}`, `{"rows": […]}` or NDJSON, one event a line.

    202 when every event was accepted or is a duplicate, 207 when some were, 422 when none was. 202 means
    durable: committed with fsync before the answer.
    """
    raise NotImplementedError("app.server.fast_events answers this address before the framework is asked")


def read_query(scope: ASGIScope) -> EventsQuery | Problem:
    """Return what the query of a post says, or what is wrong with it."""
    query: bytes = scope["query_string"]
    if not query:
        return _NO_QUERY
    if (problem := unreadable_target(scope)) is not None:
        return problem
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    found = dict(pairs)
    wrong = [
        Wrong(request_path([name]), "unknown_parameter")
        for name in found
        if name not in EventsQuery.model_fields
    ]
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        wrong += [Wrong(request_path([name]), "duplicate") for name, times in counts.items() if times > 1]
    if wrong:
        return Problem(ErrorCode.INVALID, fields=wrong[:20])
    try:
        return EventsQuery.model_validate(found)
    except ValidationError as error:
        return Problem(ErrorCode.INVALID, fields=field_problems(error.errors()))


class EventsResponse(NamedTuple):
    """The answer to a post: its status, and its body as JSON."""

    status: int
    body: bytes


async def accept_events(
    headers: RawHeaders,
    read: Callable[[], Awaitable[bytes]],
    context: AppContext,
    refuse_late: Callable[[], Problem],
    caller: Caller,
    query: EventsQuery = _NO_QUERY,
) -> EventsResponse:
    """Take the events of a caller who was let in, and answer once they are stored. Raises Refusal.

    `read` brings the body; it is not called where the headers or a full queue already decide.
    """
    media_type = check_media_type(headers, "application/json", NDJSON)
    ids, late = caller.destination_ids, context.late()
    if late and ids is not None:
        late &= ids  # of others this key must not learn anything
    if late and late == ids:
        # All that this key may send is for queues that are too long: there is no need to read it.
        raise Refusal.of(refuse_late())
    events = read_body(await read(), media_type, query.destination_id, query.mapping_id)
    if late:
        events = _without_late(events, late)
        if all(isinstance(one, Rejection) and one.reason == _LATE for one in events):
            raise Refusal.of(refuse_late())
    allowed = (
        None if caller.destination_ids is None else frozenset(map(DestinationId, caller.destination_ids))
    )
    intake = _intake(context)
    if query.dry_run:
        results = await intake.dry_run(events, allowed=allowed)
    else:
        results = await intake.receive(events, allowed=allowed, low_priority=query.priority is Priority.LOW)
    if isinstance(results, NotStored):
        raise Refusal(
            ErrorCode.UNAVAILABLE,
            "The events could not be stored just now; none was taken. Send the same request again.",
            # Spread over some seconds, so that callers do not all come back in one instant.
            headers={"Retry-After": str(retry_after(ShedReason.COMMITS, random.random()))},  # noqa: S311
            code=SHED_SPECS[ShedReason.COMMITS].code.value,
        )
    return results_response(results, dry_run=query.dry_run)


def _without_late(events: list[Event | Rejection], late: frozenset[str]) -> list[Event | Rejection]:
    """Reject, for now, the events whose destination's queue is longer than they may grow old."""
    detail = "What is at the front of the advertiser's queue has waited for three quarters of the age limit."
    return [
        Rejection(_LATE, "destination_id", None, detail, one.event_id)
        if isinstance(one, Event) and one.destination_id in late
        else one
        for one in events
    ]


_LATE = "backlog_too_long"


def read_body(
    body: bytes, media_type: str, destination: str | None, mapping: str | None
) -> list[Event | Rejection]:
    """Return the events of a body, and rejections of what is none. Raises Refusal for the body as a whole."""
    if len(body) > MOST_CONTAINERS and body.count(b"[") + body.count(b"{") > MOST_CONTAINERS:
        raise Refusal(ErrorCode.TOO_LARGE, "The body holds more than 250,000 lists and objects.")
    if len(body) > MOST_VALUES and body.count(b",") > MOST_VALUES:
        raise Refusal(ErrorCode.TOO_LARGE, "The body holds more than 500,000 values.")
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
                raise Refusal(ErrorCode.INVALID, read.detail, Wrong("events", "empty"))
            case _:
                raise Refusal(ErrorCode.MALFORMED, read.detail)
    return read


def results_response(results: list[EventResult], *, dry_run: bool) -> EventsResponse:
    """Return what is told of one result per event."""
    rejected = sum(result.status == "rejected" for result in results)
    duplicates = sum(result.status == "duplicate" for result in results)
    body = {
        "accepted": len(results) - rejected - duplicates,
        "duplicates": duplicates,
        "rejected": rejected,
        "results": [_shown(result) for result in results],
    }
    if rejected == len(results):
        status = 422
    elif rejected:
        status = 207
    else:
        status = 200 if dry_run else 202
    return EventsResponse(status, exact_json(body))


def _shown(result: EventResult) -> dict[str, Any]:
    shown: dict[str, Any] = {"index": result.index, "event_id": result.event_id, "status": result.status}
    if (rejection := result.rejection) is not None:
        shown |= {
            "code": rejection.code.value,
            "reason": rejection.reason,
            "field": rejection.field,
            "mapping_field": rejection.mapping_field,
            "detail": rejection.detail,
        }
    if result.warnings:
        shown["warnings"] = [{"code": one.code, "field": one.field} for one in result.warnings]
    if result.preview is not None:
        shown["preview"] = result.preview
    return shown


def _intake(context: AppContext) -> Intake:
    intake: Intake = context.intake
    return intake
