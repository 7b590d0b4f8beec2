"""Error responses in one format, and the only table of status codes.

Every route returns errors as `{"error": code, "detail": sentence, "fields": [{"field": path, "problem":
code}]}`. An error never repeats a value of the request, because it may be personal data.
"""

import logging
from collections.abc import Mapping
from typing import Annotated, Literal, NotRequired

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import TypedDict

from app.admin import ErrorCode, Problem, Refusal, error_body
from app.admin.field_problems import field_problems, own_sentences
from app.domain import strict_json
from app.store.errors import is_unavailable
from app.telemetry import describe_exception

logger = logging.getLogger("app.api.errors")


class FieldError(TypedDict):
    """An invalid field of a request."""

    field: Annotated[
        str, Field(description="The path of the field in the request.", examples=["advertiser_id"])
    ]
    problem: Annotated[str, Field(description="A stable problem code.", examples=["entity_id"])]


class ErrorBody(TypedDict):
    """An error. Only some errors have the members after `fields`."""

    error: Annotated[ErrorCode, Field(description="A stable error code.")]
    detail: Annotated[str, Field(description="A sentence for people, without values of the request.")]
    fields: list[FieldError]
    code: NotRequired[Annotated[str, Field(description="For `POST /events`: the journey code.")]]
    reason: NotRequired[Annotated[str, Field(description="For `malformed`: why the body is not JSON.")]]
    event_type: NotRequired[Annotated[str, Field(description="For `event_name_conflict`: the event type.")]]
    pinned_name: NotRequired[Annotated[str, Field(description="For `event_name_conflict`: the name to use.")]]
    near_miss: NotRequired[
        Annotated[str | None, Field(description="For `event_name_conflict`: how the two names differ.")]
    ]
    waiting: NotRequired[Annotated[int, Field(description="For `events_waiting`: the number of events.")]]
    mapping_ids: NotRequired[
        Annotated[
            list[str], Field(description="For `event_ambiguous`: the mappings that accepted this event id.")
        ]
    ]
    visible_advertiser_ids: NotRequired[
        Annotated[list[str], Field(description="For `advertiser_not_visible`: the ids that Amazon returned.")]
    ]


STATUSES: Mapping[ErrorCode, int] = {
    ErrorCode.MALFORMED: 400,
    ErrorCode.CREDENTIALS_AMBIGUOUS: 400,
    ErrorCode.INVALID_STATE: 400,
    ErrorCode.ACCESS_DENIED: 400,
    ErrorCode.SIGN_IN_FAILED: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.ORGANISATION_SUSPENDED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.DESTINATION_ARCHIVED: 409,
    ErrorCode.NOT_CONNECTED: 409,
    ErrorCode.DESTINATION_FIXED: 409,
    ErrorCode.DESTINATION_CHANGED: 409,
    ErrorCode.EVENTS_WAITING: 409,
    ErrorCode.MAPPING_ARCHIVED: 409,
    ErrorCode.EVENT_NAME_CONFLICT: 409,
    ErrorCode.ADVERTISER_NOT_VISIBLE: 409,
    ErrorCode.EVENT_AMBIGUOUS: 409,
    ErrorCode.ORGANISATION_EXISTS: 409,
    ErrorCode.STALE: 412,
    ErrorCode.TOO_SLOW: 408,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.TOO_MANY_EVENTS: 413,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.EXPECTATION_FAILED: 417,
    ErrorCode.INVALID: 422,
    ErrorCode.NOT_PUBLISHABLE: 422,
    ErrorCode.TOO_MANY_REQUESTS: 429,
    ErrorCode.EVENT_RATE_EXCEEDED: 429,
    ErrorCode.DESTINATION_LIMIT: 429,
    ErrorCode.HEAD_TOO_LARGE: 431,
    ErrorCode.INTERNAL: 500,
    ErrorCode.NOT_IMPLEMENTED: 501,
    ErrorCode.AMAZON_UNAVAILABLE: 502,
    ErrorCode.AMAZON_CLIENT_INVALID: 502,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.HTTP_VERSION_NOT_SUPPORTED: 505,
}


def status_of(problem: Problem) -> int:
    """Return the status code of a problem."""
    return STATUSES[problem.code]


def error_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response for a problem, with the headers that its status requires."""
    headers = dict(headers or {})
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if problem.code is ErrorCode.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="conversions", Basic realm="conversions"'
    if status_of(problem) in (429, 502, 503):
        headers.setdefault("Retry-After", "1")
    return JSONResponse(error_body(problem), status_of(problem), headers)


# Error codes for the errors that the framework raises.
_FRAMEWORK: Mapping[int, ErrorCode] = {
    400: ErrorCode.MALFORMED,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
}


def problem_of(error: Exception) -> Problem:
    """Return the problem for an exception. Log an unexpected exception without the values in it."""
    match error:
        case Refusal():
            return error.problem
        case RequestValidationError():
            return Problem(
                ErrorCode.INVALID, own_sentences(error.errors()), fields=field_problems(error.errors())
            )
        case HTTPException() if error.status_code in _FRAMEWORK:
            return Problem(_FRAMEWORK[error.status_code])
        case MemoryError():
            _log("api.out_of_memory", logging.ERROR, error)
            return Problem(ErrorCode.UNAVAILABLE, OUT_OF_MEMORY)
        case _ if is_unavailable(error):
            _log("api.database_unavailable", logging.WARNING, error)
            return Problem(ErrorCode.UNAVAILABLE)
        case _:
            _log("api.unexpected_error", logging.ERROR, error)
            return Problem(ErrorCode.INTERNAL)


OUT_OF_MEMORY = "The process ran out of memory and stored nothing. Send the same request again."


def _log(event: str, level: int, error: BaseException) -> None:
    logger.log(level, event, extra={"fields": {"error": describe_exception(error)}})


def malformed_body(found: strict_json.MalformedJson) -> Problem:
    """Return the problem for a body that is not valid JSON or is ambiguous."""
    position = "" if found.offset is None else f" (at byte {found.offset})"
    return Problem(
        ErrorCode.MALFORMED, strict_json.SENTENCES[found.why] + position, extra={"reason": found.why}
    )


async def _answer_error(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.code is ErrorCode.METHOD_NOT_ALLOWED:
        return error_response(problem, {"Allow": _methods_at(request)})
    return error_response(problem)


def _methods_at(request: Request) -> str:
    """Return all methods of the path that serves an address.

    The framework knows only the methods of the first matching route. Of several paths that match, the one
    with the most words is the path of this resource, such as `/organisations/self`.
    """
    matching = [
        route
        for route in request.app.routes
        if isinstance(route, Route) and route.path_regex.match(request.scope["path"])
    ]
    serving = max((route.path for route in matching), key=_words_in)
    methods = {method for route in matching if route.path == serving for method in route.methods or ()}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


def _words_in(path: str) -> int:
    """Return the number of parts of a path that are no parameters."""
    return sum("{" not in part for part in path.split("/"))


def install_error_handlers(app: FastAPI) -> None:
    """Install the handlers of expected errors. The request middleware handles all other errors."""
    for kind in (Refusal, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_error)


class NotReady(ErrorBody):
    """The response of a process that cannot store events now: an error with the reasons."""

    status: Literal["not_ready"]
    reasons: list[str]


def not_ready_body(reasons: tuple[str, ...]) -> NotReady:
    """Return the body of the 503 response with the reasons."""
    return {
        "status": "not_ready",
        "reasons": list(reasons),
        "error": ErrorCode.UNAVAILABLE,
        "detail": "Not ready: " + ", ".join(reasons) + ".",
        "fields": [],
    }


def not_ready(reasons: tuple[str, ...]) -> Response:
    """Return the 503 response with the reasons."""
    return JSONResponse(not_ready_body(reasons), 503, {"Retry-After": "1"})
