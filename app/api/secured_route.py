"""The door of every route: who may come in is settled before a body is read, and bodies are read strictly.

A route says who it is for by `@needs(scope)` or `@open_to_all`; one that says neither cannot be built, so
that a new route cannot forget its lock.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from app.admin.access import Caller, Scope
from app.admin.context import AppContext
from app.admin.field_problems import request_path
from app.admin.refusals import ErrorCode, FieldProblem, Problem, Refusal
from app.api.auth import KeyRing
from app.api.errors import error_response, malformed_body
from app.api.headers import RawHeaders, first_header
from app.api.query_parameters import parameters_of, refused_parameters
from app.domain import strict_json

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

# Where the scope\'s state holds the function that counts an admitted request in its owner\'s share.
CLAIM: Final = "claim"

_SCOPES = "__scopes__"
_RAW = "__raw_body__"


def requires(*any_of: Scope) -> Callable[[Endpoint], Endpoint]:
    """Let in only keys that hold at least one of these scopes."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _SCOPES, any_of)
        return endpoint

    return mark


def public(endpoint: Endpoint) -> Endpoint:
    """Let in anyone, without a key."""
    setattr(endpoint, _SCOPES, ())
    return endpoint


def reads_its_own_body(endpoint: Endpoint) -> Endpoint:
    """Leave the body to the route: it has media types or limits of its own."""
    setattr(endpoint, _RAW, True)
    return endpoint


def scopes_of(endpoint: Callable[..., Any]) -> tuple[Scope, ...]:
    """Return the scopes of which a caller needs one; none at all for a route that is open to all."""
    scopes: tuple[Scope, ...] = getattr(endpoint, _SCOPES)
    return scopes


class SecuredRoute(APIRoute):
    """A route behind the door. Refusals come in order: 400 or 401, 403, 422 of the query's names, 415,
    400 of the body, 422 of what it holds.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        if not hasattr(endpoint, _SCOPES):
            raise TypeError(f"{path}: say who may come in, with @needs(...) or @open_to_all")
        super().__init__(path, endpoint, **settings)

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        within = super().get_route_handler()
        scopes, raw = scopes_of(self.endpoint), hasattr(self.endpoint, _RAW)
        takes_body = self.body_field is not None
        parameters = parameters_of(self.dependant, self.endpoint)

        async def handle(request: Request) -> Response:
            if scopes:
                found = await authorize(key_ring_of(request), request.scope["headers"], scopes)
                if isinstance(found, Problem):
                    return error_response(found)
                request.state.caller = found
                if (problem := claimed(request, found)) is not None:
                    return error_response(problem)
            if (refused := refused_parameters(request.scope["query_string"], parameters)) is not None:
                return error_response(refused)
            if not raw:
                await _read_body(request, takes_body=takes_body)
            return await within(request)

        return handle


async def authorize(ring: KeyRing, headers: RawHeaders, scopes: tuple[Scope, ...]) -> Caller | Problem:
    """Return the caller that these headers name, when it holds one of the scopes, or what keeps it out."""
    found = await ring.authenticate(headers)
    if isinstance(found, Caller) and not found.may(*scopes):
        return Problem(ErrorCode.FORBIDDEN, f"This key lacks the scope {' or '.join(scopes)}.")
    return found


def claimed(request: Request, caller: Caller) -> Problem | None:
    """Count the request in its caller's share, or return what to answer when that is used up."""
    claim: Callable[[str], Problem | None] | None = request.scope["state"].get(CLAIM)
    return None if claim is None else claim(caller.quota_owner)


async def _read_body(request: Request, *, takes_body: bool) -> None:
    """Read a JSON body strictly and leave it where the framework looks for it. Raises Refusal."""
    body = await request.body()
    if not body:
        return  # a missing body that is needed is the framework's 422
    check_media_type(request.scope["headers"], "application/json")
    value = strict_json.parse(body)
    if isinstance(value, strict_json.MalformedJson):
        raise Refusal.of(malformed_body(value))
    if not takes_body and value not in ({}, None):
        fields = (
            [FieldProblem(request_path([name]), "unknown_field") for name in value]
            if isinstance(value, dict)
            else []
        )
        raise Refusal(ErrorCode.INVALID, "This address takes no body.", *fields[:20])
    request._json = value


def check_media_type(headers: RawHeaders, *accepted: str) -> str:
    """Return the body's media type: one of `accepted`, in UTF-8, not compressed. Raises Refusal."""
    given = first_header(headers, b"content-type") or ""
    media_type, _, parameters = given.partition(";")
    charset = parameters.replace('"', "").strip().lower()
    if media_type.strip().lower() not in accepted or charset not in ("", "charset=utf-8", "charset=utf8"):
        wanted = " or ".join(accepted)
        raise Refusal(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"Send the body with Content-Type: {wanted}, in UTF-8."
        )
    if (first_header(headers, b"content-encoding") or "identity").lower() != "identity":
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "Send the body without Content-Encoding.")
    return media_type.strip().lower()


def key_ring_of(request: Request) -> KeyRing:
    """Return the key ring of the application that serves this request."""
    ring: KeyRing = request.app.state.key_ring
    return ring


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def _context(request: Request) -> AppContext:
    context: AppContext = request.app.state.context
    return context


# What routes take as arguments.
CurrentCaller = Annotated[Caller, Depends(_caller)]
Context = Annotated[AppContext, Depends(_context)]
