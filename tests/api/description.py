"""Check real responses against the OpenAPI description of the application."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

# Statuses that the connection gives before a route is known, and the method that no route has.
_OF_NO_ROUTE = frozenset({405, 408, 417, 431, 501, 505})


class Description:
    """The description of an application, with every schema closed: a member it does not name is an error."""

    def __init__(self, app: FastAPI) -> None:
        described = app.openapi()
        self.schemas = _closed(described["components"]["schemas"])
        self._operations = [
            (method.upper(), _pattern(path), path, operation)
            for path, methods in described["paths"].items()
            for method, operation in methods.items()
        ]
        # Paths with fewer parameters first, as a router prefers literal paths.
        self._operations.sort(key=lambda entry: entry[2].count("{"))
        self._validators: dict[str, Draft202012Validator] = {}
        self._routes = list(app.routes)  # keeps their ids unique for `description_of`

    def check(self, response: httpx.Response) -> None:
        """Validate a JSON response and its headers against its operation and status."""
        method = response.request.method
        if not response.headers.get("content-type", "").startswith("application/json"):
            return
        operation = self._operation(method, response.request.url.path)
        if operation is None:
            return
        answer = operation["responses"].get(str(response.status_code))
        if answer is None and response.status_code in _OF_NO_ROUTE:
            schema: dict[str, Any] = {"$ref": "#/components/schemas/ErrorBody"}
        else:
            assert answer is not None, f"{method} {response.request.url.path}: {response.status_code}"
            schema = answer["content"]["application/json"]["schema"]
            for name in ("ETag", "Retry-After", "X-Request-Id"):
                is_sent, is_described = name in response.headers, name in answer["headers"]
                assert is_sent is is_described, f"{method} {response.request.url.path}: {name}"
        self.validate(schema, response.json())

    def validate(self, schema: dict[str, Any], value: Any) -> None:
        """Validate a value against a schema of the description."""
        name = json.dumps(schema)
        if name not in self._validators:
            complete = {**schema, "components": {"schemas": self.schemas}}
            Draft202012Validator.check_schema(complete)
            self._validators[name] = Draft202012Validator(complete)
        error = best_match(self._validators[name].iter_errors(value))
        if error is not None:
            raise error

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        return next(
            (
                operation
                for each, pattern, _, operation in self._operations
                if each == method and pattern.fullmatch(path)
            ),
            None,
        )


_descriptions: dict[tuple[int, ...], Description] = {}


def description_of(app: FastAPI) -> Description:
    """Return the description of an application. Applications with the same routes share it."""
    routes = tuple(map(id, app.routes))
    if routes not in _descriptions:
        _descriptions[routes] = Description(app)
    return _descriptions[routes]


def check_responses(app: FastAPI) -> Callable[[httpx.Response], Awaitable[None]]:
    """Return a hook for a client of the application that checks every response."""

    async def check(response: httpx.Response) -> None:
        await response.aread()
        description_of(app).check(response)

    return check


def _pattern(path: str) -> re.Pattern[str]:
    # An event id may contain slashes.
    text = re.escape(path).replace(r"\{event_id\}", ".+")
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", text), re.DOTALL)


def _closed(node: Any) -> Any:
    """Return the schemas, where no object has members that are not described."""
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    closed = {name: _closed(value) for name, value in node.items()}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
