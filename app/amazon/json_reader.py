"""Parse Amazon's JSON with the project's strict parser."""

from typing import Any

from app.domain.strict_json import MalformedJson, parse

_MAX_DEPTH = 32  # the contract's deepest reply has nine levels


def read_json(body: bytes) -> Any:
    """Return the value, or None if the text is not strict JSON or is `null`."""
    match parse(body, max_depth=_MAX_DEPTH):
        case MalformedJson():
            return None
        case value:
            return value
