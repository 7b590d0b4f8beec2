"""Whether a client would rather read JSON or a page."""

from fastapi import Request


def wants(request: Request, media_type: str) -> bool:
    """Return whether the Accept header names this media type, at least as much as the other one.

    `*/*`, and no header at all, names neither.
    """
    weights = _weights(request.headers.get("accept", ""))
    mine = weights.get(media_type, 0.0)
    return mine > 0 and mine >= max((weights.get(other, 0.0) for other in _KNOWN), default=0.0)


_KNOWN = ("application/json", "text/html")


def _weights(accept: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in accept.split(",")[:20]:
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        found[name] = max(found.get(name, 0.0), weight)
    return found
