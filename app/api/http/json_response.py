"""JSON responses that keep decimals exact."""

from typing import Any

import msgspec
from starlette.responses import Response

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def exact_json(content: Any) -> bytes:
    """Encode plain values as JSON. Decimals become exact numbers."""
    return _ENCODER.encode(content)


class ExactJsonResponse(Response):
    """A JSON response with exact decimals. The framework's own JSON response converts decimals to floats."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        return exact_json(content)
