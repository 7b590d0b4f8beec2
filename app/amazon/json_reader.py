"""Read Amazon's JSON with the project's strict parser."""

from typing import Any

from app.domain.strict_json import MalformedJson, parse

_MAX_DEPTH = 32  # the contract's deepest reply has nine levels


def read_json(body: bytes) -> Any:
    """Return the value of a JSON text. Return None for `null` and for a text that is not strict JSON."""
    value = parse(body, max_depth=_MAX_DEPTH)
    return None if isinstance(value, MalformedJson) else value


def objects(rows: Any) -> list[dict[str, Any]]:
    """Return the items of a list that are objects. Return an empty list if the value is not a list."""
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
