"""Every answer that is not what was asked for: one shape, and the only table of status codes.

`{"error": word, "detail": sentence, "fields": [{"field": path, "problem": word}]}`, on every route. Nothing
that a caller sent is repeated in it: a value in the wrong place may be a person's.
"""

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
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


class Word(StrEnum):
    """What went wrong, in a word that stays the same for ever."""

    MALFORMED = "malformed"
    CREDENTIALS_AMBIGUOUS = "credentials_ambiguous"
    INVALID_STATE = "invalid_state"
    ACCESS_DENIED = "access_denied"
    SIGN_IN_FAILED = "sign_in_failed"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    DESTINATION_ARCHIVED = "destination_archived"
    DESTINATION_FIXED = "destination_fixed"
    DESTINATION_CHANGED = "destination_changed"
    EVENTS_WAITING = "events_waiting"
    MAPPING_ARCHIVED = "mapping_archived"
    KEY_ENDED = "key_ended"
    KEY_ROTATED = "key_rotated"
    EVENT_NAME_CONFLICT = "event_name_conflict"
    ADVERTISER_NOT_VISIBLE = "advertiser_not_visible"
    EVENT_AMBIGUOUS = "event_ambiguous"
    STALE = "stale"
    TOO_SLOW = "too_slow"
    TOO_LARGE = "too_large"
    TOO_MANY_EVENTS = "too_many_events"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INVALID = "invalid"
    NOT_PUBLISHABLE = "not_publishable"
    TOO_MANY_REQUESTS = "too_many_requests"
    EXPECTATION_FAILED = "expectation_failed"
    HEAD_TOO_LARGE = "head_too_large"
    INTERNAL = "internal"
    NOT_IMPLEMENTED = "not_implemented"
    AMAZON_UNAVAILABLE = "amazon_unavailable"
    AMAZON_CLIENT_INVALID = "amazon_client_invalid"
    UNAVAILABLE = "unavailable"
    HTTP_VERSION_NOT_SUPPORTED = "http_version_not_supported"


@dataclass(frozen=True, slots=True)
class Row:
    """The status a word is answered with, and the sentence when the place that says it has no better one."""

    status: int
    sentence: str


TABLE: Mapping[Word, Row] = {
    Word.MALFORMED: Row(400, "The request cannot be read."),
    Word.CREDENTIALS_AMBIGUOUS: Row(400, "Send one key, once: the request carries several."),
    Word.INVALID_STATE: Row(
        400, "This sign-in is unknown, finished or older than ten minutes; start it again with connect."
    ),
    Word.ACCESS_DENIED: Row(400, "Access was not allowed at Amazon. Start again and click Allow."),
    Word.SIGN_IN_FAILED: Row(400, "Amazon did not complete the sign-in. Start it again with connect."),
    Word.UNAUTHORIZED: Row(401, "Send a valid key as Bearer token, X-Api-Key, or password of Basic."),
    Word.FORBIDDEN: Row(403, "This key lacks the scope for that."),
    Word.NOT_FOUND: Row(404, "Nothing is here, or this key may not see it."),
    Word.METHOD_NOT_ALLOWED: Row(405, "This address does not take that method."),
    Word.DESTINATION_ARCHIVED: Row(409, "The destination was deleted; nothing about it changes any more."),
    Word.DESTINATION_FIXED: Row(
        409,
        "Advertiser id and region can change only on a draft that never took an event. "
        "Make a new destination instead.",
    ),
    Word.DESTINATION_CHANGED: Row(
        409, "The destination changed while the sign-in was under way; connect it again."
    ),
    Word.EVENTS_WAITING: Row(
        409, "Events wait for this destination; delete with discard=true to give them up."
    ),
    Word.MAPPING_ARCHIVED: Row(409, "The mapping was deleted; nothing about it changes any more."),
    Word.KEY_ENDED: Row(409, "The key is revoked or has expired; make a new one."),
    Word.KEY_ROTATED: Row(
        409, "The key was rotated before; rotate the key that replaces it, or revoke that one first."
    ),
    Word.EVENT_NAME_CONFLICT: Row(409, "Another event name is pinned for this advertiser and event type."),
    Word.ADVERTISER_NOT_VISIBLE: Row(
        409,
        "The Amazon user who signed in cannot see this advertiser id in this region. Check the id and the "
        "region, or sign in as a user with access. The destination stays as it was.",
    ),
    Word.EVENT_AMBIGUOUS: Row(409, "The event id stands under several mappings; name mapping_id."),
    Word.STALE: Row(412, "Someone changed it since it was read; read it again and repeat the change."),
    Word.TOO_SLOW: Row(408, "The request did not arrive within the time for it; the connection was closed."),
    Word.TOO_LARGE: Row(413, "The body is larger than this address takes."),
    Word.TOO_MANY_EVENTS: Row(413, "Send at most 5,000 events in a request."),
    Word.UNSUPPORTED_MEDIA_TYPE: Row(415, "Send the body as application/json, without Content-Encoding."),
    Word.EXPECTATION_FAILED: Row(417, "The only expectation that is met is 100-continue."),
    Word.INVALID: Row(422, "The request was read, but what it says cannot be done; see fields."),
    Word.NOT_PUBLISHABLE: Row(422, "The mapping lacks what publishing needs; see fields."),
    Word.TOO_MANY_REQUESTS: Row(429, "Slow down and try again after the time in Retry-After."),
    Word.HEAD_TOO_LARGE: Row(431, "Request line and headers together are longer than is taken."),
    Word.INTERNAL: Row(500, "Something broke here. The request id leads to its trace in the log."),
    Word.NOT_IMPLEMENTED: Row(
        501, "The method CONNECT and transfer codings other than chunked are not taken."
    ),
    Word.AMAZON_UNAVAILABLE: Row(
        502, "Amazon could not be asked just now. Nothing was changed; connect again in a minute."
    ),
    Word.AMAZON_CLIENT_INVALID: Row(
        502,
        "Amazon does not know this application or its secret. Nothing was changed; the operator must check "
        "AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET.",
    ),
    Word.UNAVAILABLE: Row(503, "The database cannot be reached just now; try again in a moment."),
    Word.HTTP_VERSION_NOT_SUPPORTED: Row(505, "Send the request as HTTP/1.1 or HTTP/1.0."),
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
            return Problem(_FRAMEWORK[error.status_code], headers=error.headers or {})
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
