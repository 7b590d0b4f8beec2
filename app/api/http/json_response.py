"""JSON responses that keep decimals exact."""

from typing import Any, Final

import msgspec
from starlette.responses import Response

exact_json: Final = msgspec.json.Encoder(decimal_format="number").encode
"""Encode plain values as JSON. Decimals become exact numbers."""


class ExactJsonResponse(Response):
    """A JSON response with exact decimals. The framework's own JSON response converts decimals to floats."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        return exact_json(content)
