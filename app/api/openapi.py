"""The OpenAPI description, made whole: who may call what, and every error in its one shape."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from app.admin.refusals import ErrorCode
from app.api.errors import STATUSES
from app.api.response_schemas import EVENTS_ANSWERS, EVENTS_BODY, SHAPES, answer_schema
from app.api.secured_route import scopes_of

DESCRIPTION = """
The target of a journey's *Send to Destinations* node for the **Amazon Conversions API**.

A key goes into `Authorization: Bearer`, `X-Api-Key`, or the password of HTTP Basic. Times are RFC 3339
in UTC. Lists are `{"items", "next_cursor"}`. Errors are `{"error", "detail", "fields"}`; `error` and
`problem` are words that stay. Unknown fields are refused. `ETag` and `If-Match` keep two editors from
undoing each other.
"""

_SECURITY: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key as password; the user is not read."},
}

_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error", "detail", "fields"],
    "properties": {
        "error": {
            "type": "string",
            "enum": [word.value for word in ErrorCode],
            "description": "A word that stays.",
        },
        "detail": {"type": "string", "description": "A sentence for people. Never a value that was sent."},
        "fields": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "problem"],
                "properties": {"field": {"type": "string"}, "problem": {"type": "string"}},
            },
        },
    },
    "example": {
        "error": "invalid",
        "detail": "The request was read, but what it says cannot be done; see fields.",
        "fields": [{"field": "advertiser_id", "problem": "entity_id"}],
    },
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the description of all routes, with security and errors added from the doors themselves."""
    described = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=app.routes,
        openapi_version="3.1.0",
    )
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    described["components"]["securitySchemes"] = _SECURITY
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas |= {**SHAPES, "Error": _ERROR}
    for path, method, route in routes_of(app):
        operation = described["paths"].get(path, {}).get(method.lower())
        if operation is None:
            continue
        scopes = scopes_of(route.endpoint)
        operation["security"] = [{name: []} for name in _SECURITY] if scopes else []
        if scopes:
            wanted = " or ".join(f"`{scope}`" for scope in scopes)
            operation["description"] = f"{operation.get('description', '')}\n\nScope: {wanted}.".strip()
        operation["responses"].pop("422", None)
        _describe_answer(operation, method, path)
        for status in _statuses(path, method, locked=bool(scopes)):
            operation["responses"].setdefault(str(status), _error_of(status))
    return described


def _describe_answer(operation: dict[str, Any], method: str, path: str) -> None:
    """Put in what the framework cannot know: the shape of a good answer, and the bodies of events."""
    if operation.pop("x-events-body", False):
        operation["requestBody"] = EVENTS_BODY
        operation["responses"] = dict(EVENTS_ANSWERS)
        return
    schema = answer_schema(method, path)
    if schema is not None:
        good = next(status for status in operation["responses"] if status.startswith("2"))
        operation["responses"][good] |= {"content": {"application/json": {"schema": schema}}}
    if path == "/metrics":
        operation["responses"]["200"] |= {"content": {"text/plain": {"schema": {"type": "string"}}}}
    if path == "/oauth/amazon/callback":
        operation["responses"]["303"] = {"description": "To the destination's page in the console."}


def routes_of(app: FastAPI) -> list[tuple[str, str, APIRoute]]:
    """Return (path, method, route) of every route that is behind the door."""
    return [
        (context.path_format, method, context.original_route)
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute) and context.path_format is not None
        for method in sorted(context.original_route.methods or ())
    ]


def _statuses(path: str, method: str, *, locked: bool) -> list[int]:
    """Return the error statuses that a route can answer with."""
    found = {500, 503}
    if locked:
        found |= {400, 401, 403, 422}
    if method in ("POST", "PATCH"):
        found |= {413, 415}
    if "{" in path:
        found |= {404}
        if method != "GET":
            found |= {409, 412}
    if path.startswith("/events/"):
        found |= {409}
    if (method, path) == ("POST", "/events"):
        found |= {429}
    if path.startswith("/oauth/"):
        found |= {400, 409, 502}
    return sorted(found)


def _error_of(status: int) -> dict[str, Any]:
    words = [word.value for word, each in STATUSES.items() if each == status]
    return {
        "description": "One of: " + ", ".join(words),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
