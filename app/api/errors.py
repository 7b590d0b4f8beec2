"""Every answer that is not what was asked for: one shape, and the only table of status codes.

`{"error": word, "detail": sentence, "fields": [{"field": path, "problem": word}]}`, on every route. Nothing
that a caller sent is repeated in it: a value in the wrong place may be a person's.
"""

import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.admin.field_problems import fields_of, hints_of
from app.admin.refusals import Problem, Refusal, Word, body_of
from app.domain import strict_json
from app.store.availability import is_unavailable

logger = logging.getLogger("app.api.errors")

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


STATUSES: Mapping[Word, int] = {
    Word.MALFORMED: 400,
    Word.CREDENTIALS_AMBIGUOUS: 400,
    Word.INVALID_STATE: 400,
    Word.ACCESS_DENIED: 400,
    Word.SIGN_IN_FAILED: 400,
    Word.UNAUTHORIZED: 401,
    Word.FORBIDDEN: 403,
    Word.NOT_FOUND: 404,
    Word.METHOD_NOT_ALLOWED: 405,
    Word.DESTINATION_ARCHIVED: 409,
    Word.DESTINATION_FIXED: 409,
    Word.DESTINATION_CHANGED: 409,
    Word.EVENTS_WAITING: 409,
    Word.MAPPING_ARCHIVED: 409,
    Word.KEY_ENDED: 409,
    Word.KEY_ROTATED: 409,
    Word.EVENT_NAME_CONFLICT: 409,
    Word.ADVERTISER_NOT_VISIBLE: 409,
    Word.EVENT_AMBIGUOUS: 409,
    Word.STALE: 412,
    Word.TOO_SLOW: 408,
    Word.TOO_LARGE: 413,
    Word.TOO_MANY_EVENTS: 413,
    Word.UNSUPPORTED_MEDIA_TYPE: 415,
    Word.EXPECTATION_FAILED: 417,
    Word.INVALID: 422,
    Word.NOT_PUBLISHABLE: 422,
    Word.TOO_MANY_REQUESTS: 429,
    Word.HEAD_TOO_LARGE: 431,
    Word.INTERNAL: 500,
    Word.NOT_IMPLEMENTED: 501,
    Word.AMAZON_UNAVAILABLE: 502,
    Word.AMAZON_CLIENT_INVALID: 502,
    Word.UNAVAILABLE: 503,
    Word.HTTP_VERSION_NOT_SUPPORTED: 505,
}


def status_of(problem: Problem) -> int:
    """Return the status code of a problem."""
    return STATUSES[problem.word]


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response for a problem, with the headers that its status requires."""
    headers = dict(headers or {})
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if problem.word is Word.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="conversions", Basic realm="conversions"'
    if status_of(problem) in (429, 502, 503):
        headers.setdefault("Retry-After", "1")
    return JSONResponse(body_of(problem), status_of(problem), headers)


# What the framework itself answers, in our words.
_FRAMEWORK: Mapping[int, Word] = {
    400: Word.MALFORMED,
    404: Word.NOT_FOUND,
    405: Word.METHOD_NOT_ALLOWED,
    413: Word.TOO_LARGE,
}


def problem_of(error: Exception) -> Problem:
    """Return what an exception is answered with; one that nobody foresaw is logged, without its values."""
    match error:
        case Refusal():
            return error.problem
        case RequestValidationError():
            return Problem(Word.INVALID, hints_of(error.errors()), fields=fields_of(error.errors()))
        case HTTPException() if error.status_code in _FRAMEWORK:
            return Problem(_FRAMEWORK[error.status_code])
        case MemoryError():
            logger.error("memory ran out at %s", where(error))
            return Problem(Word.UNAVAILABLE, OUT_OF_MEMORY)
        case _ if is_unavailable(error):
            logger.warning("database unavailable: %s", type(error).__name__)
            return Problem(Word.UNAVAILABLE)
        case _:
            logger.error("unforeseen %s at %s", type(error).__qualname__, where(error))
            return Problem(Word.INTERNAL)


OUT_OF_MEMORY = "The process ran out of memory; nothing was taken. Send the same request again."


def where(error: BaseException) -> str:
    """Return the way to an error as file:line:function, innermost last; a message could hold values."""
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join(
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}:{frame.name}" for frame in frames[-6:]
    )


def malformed(found: strict_json.Malformed) -> Problem:
    """Return the problem of a body that has no single reading."""
    place = "" if found.offset is None else f" (at byte {found.offset})"
    return Problem(Word.MALFORMED, strict_json.SENTENCES[found.why] + place, extra={"reason": found.why})


async def _answer_error(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.word is Word.METHOD_NOT_ALLOWED:
        return answer(problem, {"Allow": _methods_at(request)})
    return answer(problem)


def _methods_at(request: Request) -> str:
    """Return every method that an address takes; the framework names those of its first route only."""
    routes = [context.original_route for context in iter_route_contexts(request.app.routes)]
    here = [
        route
        for route in routes
        if isinstance(route, Route) and route.path_regex.match(request.scope["path"])
    ]
    # The catch-all answers GET with 404: it adds no method to an address that another route has.
    named = [route for route in here if not hasattr(route.endpoint, _CATCH_ALL)] or here
    methods = {method for route in named for method in route.methods or ()}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


_CATCH_ALL = "__catch_all__"


def catch_all(endpoint: Endpoint) -> Endpoint:
    """Mark a route that answers 404 for every address that no other route has."""
    setattr(endpoint, _CATCH_ALL, True)
    return endpoint


def install(app: FastAPI) -> None:
    """Let the application answer what it foresees in the one shape; the envelope answers the rest."""
    for kind in (Refusal, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_error)
