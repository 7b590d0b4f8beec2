"""The route class of the API. It authorizes a request before it reads the body, and parses the body strictly.

A route names its scopes after its path, or is marked `@public`. Without either, building the route fails, so
no route is public by mistake.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, Final, TypeVar, get_args

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope as ASGIScope

from app.admin import Caller, ErrorCode, FieldProblem, Problem, Refusal, Scope
from app.admin.context import AppContext
from app.admin.field_problems import request_path
from app.api.access.auth import KeyRing
from app.api.access.inbound_limits import OrganisationCache
from app.api.errors import error_response, malformed_body
from app.api.http.headers import FirstHeaders, RawHeaders
from app.api.http.query_parameters import of_keyed_route, parameters_of, refused_parameters, take_organisation
from app.api.http.responses import CSV, NDJSON
from app.domain import strict_json

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_SCOPES = "__scopes__"
OF_DESTINATIONS: Final = (Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
"""The scopes of routes that help to set up a destination: one of them is enough."""


def public(endpoint: Endpoint) -> Endpoint:
    """Allow requests without a key."""
    setattr(endpoint, _SCOPES, ())
    return endpoint


def scopes_of(endpoint: Callable[..., Any]) -> tuple[Scope, ...]:
    """Return the scopes of a route. The caller needs at least one of these. A public route has none.

    Raises TypeError if the route neither names scopes nor is public.
    """
    scopes: tuple[Scope, ...] | None = getattr(endpoint, _SCOPES, None)
    if scopes is None:
        raise TypeError(f"{endpoint.__qualname__}: name the scopes after the path, or mark it @public")
    return scopes


class SecuredRoute(APIRoute):
    """A route that checks each request before its function runs.

    The order of the checks: key (400 or 401), scope (403), query (422), body syntax (415 or 400), body fields
    (422).
    """

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        endpoint = super().get_route_handler()
        scopes = scopes_of(self.endpoint)
        has_body = self.body_field is not None
        parameters = parameters_of(self.dependant, self.endpoint)
        if scopes:
            parameters = of_keyed_route(parameters)

        async def handle(request: Request) -> Response:
            if scopes:
                caller = await authorize(key_ring_of(request), request.scope["headers"], scopes)
                if isinstance(caller, Problem):
                    return error_response(caller)
                acting = await acting_in(request.app.state.organisations, request.scope, caller)
                if isinstance(acting, Problem):
                    return error_response(acting)
                request.state.context = request.app.state.context.of_caller(acting)
            if (refused := refused_parameters(request.scope["query_string"], parameters)) is not None:
                return error_response(refused)
            await _read_body(request, has_body=has_body)
            return await endpoint(request)

        return handle


class SecuredRouter(APIRouter):
    """The routes of a resource. A route names the scopes of which its keys need at least one."""

    def __init__(self, *tags: str, **settings: Any) -> None:
        super().__init__(route_class=SecuredRoute, tags=[*tags], **settings)

    def get(self, path: str, *any_of: Scope, **settings: Any) -> Callable[[Endpoint], Endpoint]:
        """Add a route that reads."""
        return self._add("GET", path, any_of, settings)

    def post(self, path: str, *any_of: Scope, **settings: Any) -> Callable[[Endpoint], Endpoint]:
        """Add a route that creates or acts."""
        return self._add("POST", path, any_of, settings)

    def put(self, path: str, *any_of: Scope, **settings: Any) -> Callable[[Endpoint], Endpoint]:
        """Add a route that replaces."""
        return self._add("PUT", path, any_of, settings)

    def patch(self, path: str, *any_of: Scope, **settings: Any) -> Callable[[Endpoint], Endpoint]:
        """Add a route that changes."""
        return self._add("PATCH", path, any_of, settings)

    def delete(self, path: str, *any_of: Scope, **settings: Any) -> Callable[[Endpoint], Endpoint]:
        """Add a route that deletes."""
        return self._add("DELETE", path, any_of, settings)

    def _add(
        self, method: str, path: str, any_of: tuple[Scope, ...], settings: dict[str, Any]
    ) -> Callable[[Endpoint], Endpoint]:
        def add(endpoint: Endpoint) -> Endpoint:
            if any_of:
                setattr(endpoint, _SCOPES, any_of)
            returned = endpoint.__annotations__["return"]
            # `Annotated[Response, Model]`: a finished response, and the model of its body.
            if model := getattr(returned, "__metadata__", None):
                settings["response_model"] = model[0]
            # `Model | StreamingResponse`: a page or, with the parameter `format`, an export.
            elif StreamingResponse in get_args(returned):
                content = {each: {"schema": {"type": "string"}} for each in (CSV, NDJSON)}
                responses = {200: {"content": content}, **settings.get("responses", {})}
                settings.update(response_model=get_args(returned)[0], responses=responses)
            self.add_api_route(path, endpoint, methods=[method], **settings)
            return endpoint

        return add


async def authorize(
    ring: KeyRing, headers: RawHeaders, scopes: tuple[Scope, ...], *, known: Caller | None = None
) -> Caller | Problem:
    """Return the caller that the headers authenticate, or the problem: no valid key, or no matching scope.

    `known` is the caller if admission control has authenticated it.
    """
    caller = known or await ring.authenticate(headers)
    if isinstance(caller, Caller) and caller.scopes.isdisjoint(scopes):
        return Problem(ErrorCode.FORBIDDEN, f"This key lacks the scope {' or '.join(scopes)}.")
    return caller


async def acting_in(organisations: OrganisationCache, scope: ASGIScope, caller: Caller) -> Caller | Problem:
    """Return the caller in the organisation that `?organisation_id=` names. Remove the parameter from the
    query.

    Only a platform key may name an organisation other than its own. Other keys get 404.
    """
    if (query := take_organisation(scope["query_string"])) is None:
        return caller
    if isinstance(query, Problem):
        return query
    scope["query_string"], organisation = query
    if organisation == caller.organisation:
        return caller
    if not caller.is_platform or await organisations.find(organisation) is None:
        return Problem(ErrorCode.NOT_FOUND)
    return replace(caller, organisation=organisation)


async def _read_body(request: Request, *, has_body: bool) -> None:
    """Parse a JSON body strictly. Store the value where the framework reads the body. Raises Refusal."""
    body = await request.body()
    if not body:
        return  # the framework returns 422 if the route requires a body
    check_media_type(dict(reversed(request.scope["headers"])), "application/json")
    value = strict_json.parse(body)
    if isinstance(value, strict_json.MalformedJson):
        raise Refusal.of(malformed_body(value))
    if not has_body and value not in ({}, None):
        fields = (
            [FieldProblem(request_path([name]), "unknown_field") for name in value]
            if isinstance(value, dict)
            else [FieldProblem("body", "not_an_object")]
        )
        raise Refusal(ErrorCode.INVALID, "This address accepts no body.", *fields[:20])
    request._json = value


def check_media_type(headers: FirstHeaders, *accepted: str) -> str:
    """Return the media type of the body, which must be in `accepted`. Raises Refusal.

    The body must be uncompressed and in UTF-8.
    """
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    if content_type in accepted and b"content-encoding" not in headers:
        return content_type  # the usual case
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.replace('"', "").strip().lower()
    if media_type.strip().lower() not in accepted or charset not in ("", "charset=utf-8", "charset=utf8"):
        expected = " or ".join(accepted)
        raise Refusal(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"Send the body with Content-Type: {expected}, in UTF-8."
        )
    if headers.get(b"content-encoding", b"identity").lower() not in (b"", b"identity"):
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "Send the body without Content-Encoding.")
    return media_type.strip().lower()


def key_ring_of(request: Request) -> KeyRing:
    """Return the key ring of the application that serves this request."""
    ring: KeyRing = request.app.state.key_ring
    return ring


async def _context(request: Request) -> AppContext:
    # A public route acts for no organisation.
    context: AppContext = getattr(request.state, "context", request.app.state.context)
    return context


Context = Annotated[AppContext, Depends(_context)]
"""The context of a route's use case, in which its caller acts."""


async def _on_destination(context: Context, destination_id: str) -> tuple[AppContext, str]:
    return context, destination_id


async def _on_mapping(context: Context, destination_id: str, mapping_id: str) -> tuple[AppContext, str, str]:
    return context, destination_id, mapping_id


# The first arguments of a use case: `delete_mapping(*on, expected)`.
OnDestination = Annotated[tuple[AppContext, str], Depends(_on_destination)]
OnMapping = Annotated[tuple[AppContext, str, str], Depends(_on_mapping)]

ONE: Final = "/destinations/{destination_id}"
"""The path of one destination."""
