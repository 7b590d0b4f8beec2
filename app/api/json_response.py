"""JSON whose numbers stay exactly as they are kept."""

from typing import Any

import msgspec
from starlette.responses import Response

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def exact_json(content: Any) -> bytes:
    """Return plain values, decimals among them, as JSON."""
    return _ENCODER.encode(content)


class ExactJsonResponse(Response):
    """A response of plain values, decimals among them; the framework's own would turn these into doubles."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the content as JSON."""
        return exact_json(content)
