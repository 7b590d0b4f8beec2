"""Hooks of Schemathesis (`SCHEMATHESIS_HOOKS`): how it writes `application/x-ndjson`."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Write one line of JSON per member of a list, or one line."""
    rows = value if isinstance(value, list) else [value]
    return b"\n".join(row.encode() if isinstance(row, str) else json.dumps(row).encode() for row in rows)
