"""Complete the generated OpenAPI description with security, headers, responses, errors and examples."""

from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.responses import Response

from app.admin import ErrorCode
from app.api.access.secured_route import Context, SecuredRouter, public, scopes_of
from app.api.errors import STATUSES, ErrorBody
from app.api.http.body_examples import BODY_EXAMPLES
from app.api.http.headers import expected_versions
from app.api.http.responses import fixed_document

router = SecuredRouter(include_in_schema=False)

DESCRIPTION = """
Receives events from the *Send to Destinations* node of a journey and delivers them to the **Amazon
Conversions API**.

Send the key as `Authorization: Bearer`, as `X-Api-Key`, or as the password of HTTP Basic. Times are RFC 3339
in UTC. Lists are `{"items", "next_cursor"}`. Errors are `{"error", "detail", "fields"}`; the codes in `error`
and `problem` are stable. Unknown fields are refused. Send the `ETag` of your last read as `If-Match` to avoid
overwriting the changes of others.

A key belongs to one organisation. A key with the scope `organisations:admin` acts in `default`, or in the
organisation that the query parameter `organisation_id` names; every route accepts it.
"""

# The tags in the order in which users need their operations.
TAGS = (
    ("events", "Send events, follow their delivery, and replay failed ones."),
    ("destinations", "An advertiser's Amazon account: create it, check it, pause it."),
    ("sign-in", "Connect a destination to Amazon."),
    ("mappings", "Map event fields to Amazon fields: draft, preview, publish."),
    ("event names", "The name of each event type in Amazon's reports, per advertiser."),
    ("identity", "Show how a value becomes a match key."),
    ("match quality", "Why Amazon can count fewer conversions than were sent."),
    ("catalog", "Fields, event types, countries and currencies for forms."),
    ("incidents", "Problems with cause and remedy, and their notifications."),
    ("subjects", "Find and erase a person."),
    ("keys", "Create and revoke API keys."),
    ("sessions", "List and end sessions of the console."),
    ("audit", "Administrative changes and their actors, in a hash chain."),
    ("organisations", "Tenants of this service, with their limits."),
    ("health", "Probes and metrics."),
)

_SECURITY: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The key is the password. The user name is ignored.",
    },
}

_TEXT: dict[str, Any] = {"type": "string"}

_HEADERS: dict[str, Any] = {
    "ETag": {"description": "The version of the resource. Send it as `If-Match`.", "schema": _TEXT},
    "Retry-After": {"description": "Seconds to wait before the next attempt.", "schema": {"type": "integer"}},
    "X-Request-Id": {"description": "The request's id in the log: yours or a new one.", "schema": _TEXT},
}

_IF_MATCH: dict[str, Any] = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of your last read. 412 `stale` if the resource changed since.",
    "schema": _TEXT,
    "example": '"3"',
}


@router.get("/openapi.json", summary="Read the OpenAPI description", response_model=None)
@public
async def description(request: Request, context: Context) -> Response:
    """Return the OpenAPI description."""
    return await fixed_document(
        request, context, lambda: msgspec.json.encode(request.app.openapi()), "application/json", {}
    )


def describe(app: FastAPI, public_url: str) -> dict[str, Any]:
    """Return the description of all routes. Security and errors are derived from the routes."""
    described = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=app.routes,
        openapi_version="3.1.0",
        servers=[{"url": public_url}],
        tags=[{"name": name, "description": meaning} for name, meaning in TAGS],
    )
    components = described.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    components |= {"securitySchemes": _SECURITY, "headers": _HEADERS}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    error = TypeAdapter(ErrorBody).json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**error.pop("$defs"), "ErrorBody": error}
    for path, method, route in routes_of(app):
        operation = described["paths"].get(path, {}).get(method.lower())
        if operation is None:
            continue
        scopes = scopes_of(route.endpoint)
        operation["security"] = [{name: []} for name in _SECURITY] if scopes else []
        if scopes:
            alternatives = " or ".join(f"`{scope}`" for scope in scopes)
            operation["description"] = f"{operation.get('description', '')}\n\nScope: {alternatives}.".strip()
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
        reads_if_match = expected_versions in [each.call for each in route.dependant.dependencies]
        for status in _error_statuses(path, method, requires_key=bool(scopes), reads_if_match=reads_if_match):
            operation["responses"].setdefault(str(status), _error_response(status, method, path))
        if reads_if_match:
            operation.setdefault("parameters", []).append(_IF_MATCH)
        _describe_headers(operation, is_versioned=method != "DELETE" and _has_version(operation, schemas))
        if (example := BODY_EXAMPLES.get((method, path))) is not None:
            operation["requestBody"]["content"]["application/json"]["example"] = example
    return described


def _has_version(operation: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Return whether the successful response is a resource with a version, which is its `ETag`."""
    success = next(each for status, each in operation["responses"].items() if status.startswith(("2", "3")))
    schema = success.get("content", {}).get("application/json", {}).get("schema", {})
    return "version" in schemas.get(schema.get("$ref", "").rpartition("/")[2], {}).get("properties", {})


def _describe_headers(operation: dict[str, Any], *, is_versioned: bool) -> None:
    for status, response in operation["responses"].items():
        names = ["X-Request-Id"]
        if status.startswith("2") and is_versioned:
            names.append("ETag")
        if status in ("429", "502", "503"):
            names.append("Retry-After")
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in sorted(names)}


def routes_of(app: FastAPI) -> list[tuple[str, str, APIRoute]]:
    """Return (path, method, route) of every secured route."""
    return [
        (route.path_format, method, route)
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]


def _error_statuses(path: str, method: str, *, requires_key: bool, reads_if_match: bool) -> list[int]:
    """Return the error statuses of a route."""
    statuses = {400, 422, 500, 503}  # every route refuses unknown parameters and an unreadable query
    if requires_key:
        statuses |= {401, 403, 404}  # 404: `organisation_id` is not an organisation of the caller
    if method in ("POST", "PUT", "PATCH"):
        statuses |= {413, 415}
    if "{" in path and method != "GET":
        statuses |= {409}
    if reads_if_match:
        statuses |= {412}
    if (method, path) in _CODES:
        statuses |= {STATUSES[code] for code in _CODES[method, path]}
    if path.startswith("/oauth/"):
        statuses |= {409, 502}
    return sorted(statuses)


# Error codes of operations in which an error status has only a single cause.
_CODES: dict[tuple[str, str], tuple[ErrorCode, ...]] = {
    ("GET", "/events/{event_id}"): (ErrorCode.EVENT_AMBIGUOUS,),
    ("POST", "/organisations"): (ErrorCode.ORGANISATION_EXISTS,),
    ("POST", "/destinations"): (ErrorCode.DESTINATION_LIMIT,),
    ("GET", "/metrics"): (ErrorCode.NOT_FOUND,),  # in production
    ("POST", "/destinations/{destination_id}/test-conversions"): (
        ErrorCode.DESTINATION_ARCHIVED,
        ErrorCode.NOT_CONNECTED,
        ErrorCode.AMAZON_UNAVAILABLE,
        ErrorCode.TOO_MANY_REQUESTS,
    ),
}

# Codes of a sign-in: only the OAuth callback returns them.
_SIGN_IN_CODES = frozenset({ErrorCode.INVALID_STATE, ErrorCode.ACCESS_DENIED, ErrorCode.SIGN_IN_FAILED})


def _error_response(status: int, method: str, path: str) -> dict[str, Any]:
    """Return the description of an error status, with an example of each error code."""
    known = [code for code in _CODES.get((method, path), ()) if STATUSES[code] == status]
    codes = known or [
        code
        for code, each in STATUSES.items()
        if each == status and (code not in _SIGN_IN_CODES or path.startswith("/oauth/"))
    ]
    fields = [{"field": "name", "problem": "missing"}] if status == 422 else []
    examples = {
        code.value: {"value": {"error": code.value, "detail": code.sentence, "fields": fields}}
        for code in codes
    }
    content = {"schema": {"$ref": "#/components/schemas/ErrorBody"}, "examples": examples}
    page = {"text/html": {"schema": _TEXT}} if path.startswith("/oauth/") else {}  # for browsers
    return {
        "description": "One of: " + ", ".join(codes) if len(codes) > 1 else codes[0].value,
        "content": {"application/json": content} | page,
    }
