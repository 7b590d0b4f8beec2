"""Content negotiation between JSON and HTML."""

from fastapi import Request


def wants(request: Request, media_type: str) -> bool:
    """Return whether the Accept header names this media type and does not prefer JSON or HTML to it.

    The wildcard `*/*` does not name a media type.
    """
    weights = _weights(request.headers.get("accept", ""))
    weight = weights.get(media_type, 0.0)
    return weight > 0 and weight >= max((weights.get(other, 0.0) for other in _KNOWN), default=0.0)


_KNOWN = ("application/json", "text/html")


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in accept.split(",")[:20]:
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        weights[name] = max(weights.get(name, 0.0), weight)
    return weights
